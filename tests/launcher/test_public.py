"""The launcher is used by its public names alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tfserving_launcher

ROOT = Path(__file__).parent.parent.parent
PUBLIC_MODULES = {"tensors", "protos", "wire_format", "parse_spec", "saved_model"}


def imports(path: Path) -> Iterator[str]:
    """`tfserving_launcher` modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_public_names_are_listed() -> None:
    there = {
        name
        for name, value in vars(tfserving_launcher).items()
        if not name.startswith("_") and not isinstance(value, type(ast))
    }
    assert there == set(tfserving_launcher.__all__)


@pytest.mark.parametrize("folder", ["app", "benchmarks", "demo", "tests/app", "tests/integration"])
def test_users_import_public_modules_only(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    private = {
        (path.name, name)
        for path in files
        for name in imports(path)
        if name.startswith("tfserving_launcher._")
    }
    assert private == set()


def test_public_modules_are_all_others() -> None:
    modules = {path.stem for path in (ROOT / "tfserving_launcher").glob("[!_]*.py")}
    assert modules == PUBLIC_MODULES
