"""The README's table of features: what it says of this project is shown by tests."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_TESTS = Path(__file__).parent
_HEADING = "## Beside the managed services"


def rows() -> list[str]:
    section = (_TESTS.parent / "README.md").read_text().partition(_HEADING)[2]
    cells = re.findall(r"^\| ([^|]+?) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert cells[0] == "feature"
    return cells[1:]


def marks() -> Iterator[str]:
    """What `@pytest.mark.readme(...)` names, wherever a test has one."""
    for path in _TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.readme":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant)
                    yield str(argument.value)


def test_every_row_of_the_table_has_a_test_and_every_mark_a_row() -> None:
    assert len(rows()) >= 20
    assert set(marks()) == set(rows())
