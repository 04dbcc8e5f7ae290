"""`embedded-tf inspect` says what a job then takes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.codec.constants import narrow_signature
from app.config.job_spec import InstanceFields
from app.formats.context import ReaderContext
from app.formats.csv import CsvReader
from app.formats.jsonl import JsonLinesReader
from app.framing.lines import as_lines
from tests.fakes.buckets import Bucket
from tests.fakes.row_errors import raising
from tfserving_launcher.parse_spec import read_parse_spec
from tfserving_launcher.saved_model import read_signatures


def inspect(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "inspect", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def described(model: Path | str) -> dict[str, Any]:
    done = inspect(str(model), "--json")
    assert done.returncode == 0, done.stderr
    description: dict[str, Any] = json.loads(done.stdout)
    return description


@pytest.mark.parametrize("name", ["zoo", "formats", "taxi", "estimator", "composite", "tf1"])
def test_the_example_of_each_signature_is_taken(name: str, models: Path) -> None:
    path = models / name / "1" / "saved_model.pb"
    signatures = read_signatures(path)
    description = described(models / name)
    assert [one["name"] for one in description["signatures"]] == list(signatures)
    shown = [one for one in description["signatures"] if one["line"] is not None]
    assert shown or name == "composite"
    for one in shown:
        constants = json.loads(one["parameters"].get("constants", "{}"))
        chosen = one["parameters"].get("output_filter", "").split(",")
        context = ReaderContext(
            file="in",
            signature=narrow_signature(signatures[one["name"]], constants, filter(None, chosen)),
            fields=InstanceFields(),
            on_row_error=raising("in"),
            max_line_bytes=2**20,
            parse_spec=lambda name=one["name"]: read_parse_spec(path, name),  # type: ignore[misc]  # bound now, not later
        )
        reader = JsonLinesReader(context)
        (group,) = reader.instances(as_lines(1, one["line"].encode() + b"\n")).groups
        assert list(group.rows) == [0]
        if (header := one["csv_header"]) is not None and "..." not in header:
            table = CsvReader(context, instance_as_columns=False)
            # Only the columns are looked at: no row follows.
            assert list(table.read([header.encode() + b"\n"])) == []


def test_what_a_signature_needs_is_shown(models: Path) -> None:
    signatures = {one["name"]: one for one in described(models / "zoo")["signatures"]}
    dropout = signatures["dropout"]
    assert json.loads(dropout["parameters"]["constants"]) == {"keep_prob": 0.5}
    assert dropout["parameters"]["output_filter"] == "y"
    assert "--signature-name dropout --constants" in dropout["command"]
    assert signatures["fixed"]["batch_size"] == 4
    assert signatures["complex"]["problem"].startswith("output y is complex64[?]")
    assert signatures["serving_default"]["is_default"]
    assert signatures["serving_default"]["csv_header"] == "x0,x1,x2"
    assert signatures["named"]["line"] == ('{"count":1,"name":"text","price":0.5,"sold":true}')


def test_versions_are_listed_from_the_highest(models: Path) -> None:
    description = described(models / "linear")
    assert (description["version"], description["versions"]) == ("10", ["10", "9"])
    text = inspect(str(models / "linear")).stdout
    assert "version    10, the highest of 10, 9\n" in text
    assert "  call     embedded-tf predict --model" in text


def test_a_model_in_a_bucket_is_read(
    bucket: Bucket, gcs_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    description = described(f"{bucket.uri}/models/renamed/")
    (signature,) = description["signatures"]
    assert (signature["name"], signature["is_default"], signature["parameters"]) == (
        "score",
        True,
        {},
    )


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    done = inspect(str(tmp_path))
    assert done.returncode == 1
    assert "is not a SavedModel" in done.stderr
