"""Models as people export them, and published ones: predictions are those of TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAMES = (
    "keras_table",
    "keras_table_csv",
    "keras_lstm",
    "keras_text",
    "keras_2",
    "tf1",
    "table_with_assets",
    "stateful",
    "xla",
    "images",
)


def test_all_exports_are_looked_at(exports: Path) -> None:
    assert {path.name for path in exports.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_those_of_tensorflow(name: str, exports: Path, tmp_path: Path) -> None:
    folder = exports / name
    (source,) = folder.glob("in.*")
    argv = [sys.executable, "-m", "app.cli", "predict", "--model", str(folder / "model")]
    argv += ["--input", str(source), "--output", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"] == 0
    (output,) = tmp_path.glob("in*.jsonl")
    found = columns([json.loads(line) for line in output.read_text().splitlines()])
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    if len(expected) == 1:
        expected = {"": next(iter(expected.values()))}
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-6)


def columns(rows: list[Any]) -> dict[str, list[Any]]:
    """The outputs by name; "" where there is one."""
    if not isinstance(rows[0], dict):
        return {"": rows}
    return {name: [row[name] for row in rows] for name in rows[0]}
