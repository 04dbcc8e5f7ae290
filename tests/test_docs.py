"""What the documents say is what the code does: tables, links, commands and examples."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import errors
from app.config.job_spec import OPTIONAL, REQUIRED
from app.settings import Settings
from tests.integration.test_exports import NAMES

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tfserving_launcher/README.md"]
)
# Read by libraries of their own, before there are settings.
_OTHER_VARIABLES = {
    "CLOUD_TASKS_EMULATOR_HOST",
    "MODEL_SERVER",
    "STORAGE_EMULATOR_HOST",
    "TENSORFLOW_MODEL_SERVER",
}


def table(path: str) -> Iterator[list[str]]:
    """The cells of each row of the first table of a document, its header left out."""
    lines = (ROOT / path).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def first_column(path: str) -> list[str]:
    return [row[0].strip("| `") for row in table(path)]


def marks() -> Iterator[str]:
    """What `@pytest.mark.readme(...)` names, wherever a test has one."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.readme":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant)
                    yield str(argument.value)


def test_each_compared_feature_has_tests() -> None:
    rows = first_column("docs/comparison.md")
    assert len(rows) >= 20
    assert set(marks()) == set(rows)


def test_each_export_is_documented() -> None:
    assert set(first_column("docs/models.md")) == set(NAMES)


def test_each_parameter_is_documented() -> None:
    assert first_column("docs/parameters.md") == [*REQUIRED, *OPTIONAL]


def test_each_variable_is_documented() -> None:
    docstring = Settings.__doc__ or ""
    variables = set(re.findall(r"^ +[a-z_]+ +([A-Z_]+) ", docstring, re.MULTILINE))
    assert set(first_column("docs/configuration.md")) == variables | _OTHER_VARIABLES


def test_each_error_is_documented() -> None:
    types = [errors.JobError]
    for each in types:
        types.extend(each.__subclasses__())
    told = {(each.code, each.status) for each in types if hasattr(each, "code")}
    # The HTTP server answers 408 before there is a job.
    documented = {(int(row[0].strip("| ")), row[1].strip("`")) for row in table("docs/errors.md")}
    assert documented - {(408, "DEADLINE_EXCEEDED")} == told


def test_each_package_is_described_in_order() -> None:
    """The table has the layers that import-linter holds, from the lowest to the highest."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [
        contract["layers"]
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert first_column("docs/architecture.md")[:2] == ["errors", "concurrency"]
    assert set(first_column("docs/architecture.md")) == set(layers[1:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_scripts_and_files_exist(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"(?:scripts|app|tests|codec|formats|benchmarks)/[\w/]+(?:\.\w+)?/?", text)
    assert [
        name for name in named if not (ROOT / name).exists() and not (ROOT / "app" / name).exists()
    ] == []


def test_launcher_examples_run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "tfserving_launcher/README.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        file = tmp_path / f"example_{number}.py"
        file.write_text(block.replace("/models/energy/1", str(models / "linear" / "10")))
        runpy.run_path(str(file), run_name="__main__")
    printed = capsys.readouterr().out
    assert "TensorSpec" in printed
    assert printed.count("array(") == len(blocks)
