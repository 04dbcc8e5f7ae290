"""Models of TensorFlow Lite: made by `embedded-tf compress`, served from `model.tflite`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.job.compress_model import _differences
from tests.fakes import tflite
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.integration.one_row_jobs import FIRST, Jobs
from tfserving_launcher import (
    ModelLoadError,
    ModelServer,
    NotASavedModel,
    Program,
    ServerExited,
    find_program,
)

ROWS = np.arange(32, dtype=np.float32).reshape(8, 4) / 10


@pytest.fixture(scope="module")
def converted(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder with `linear`, whose weights are float16 now."""
    return tflite.converted(models / "linear" / FIRST, tmp_path_factory.mktemp("tflite"), ROWS)


def test_it_is_called_as_the_original(converted: Path, models: Path) -> None:
    """The same signature, and the same predictions within the precision of float16."""
    with ModelServer(models / "linear" / FIRST) as original, ModelServer(converted) as compressed:
        assert compressed.signature() == original.signature()
        for rows in (ROWS, ROWS[:1], ROWS[:3]):
            expected = original.predict({"x": rows})["y"]
            assert np.allclose(compressed.predict({"x": rows})["y"], expected, rtol=1e-3)


def test_a_job_serves_it(converted: Path, service: RunningService, bucket: Bucket) -> None:
    bucket.put_folder(f"tflite/model/{FIRST}", converted)
    report = Jobs(bucket, service, "tflite-job").run(f"{bucket.uri}/tflite/model/")
    assert report["model_version"] == FIRST
    assert np.allclose(json.loads(report["prediction"]), [9, 18, 27, 36], rtol=1e-3)


def test_errors_are_as_ever(converted: Path, service: RunningService, bucket: Bucket) -> None:
    bucket.put_folder(f"tflite/errors/{FIRST}", converted)
    jobs = Jobs(bucket, service, "tflite-errors")
    model = f"{bucket.uri}/tflite/errors/"
    bucket.put("tflite-errors/bad.jsonl", '[1,2,3,4]\n["x",2,3,4]\n')
    answer = jobs.call(model, input=f"{bucket.uri}/tflite-errors/bad.jsonl")
    assert answer.status_code == 422
    assert "line 2" in answer.json()["error"]["message"]
    assert jobs.call(model, signature_name="other").status_code == 422


def test_a_savedmodel_beside_it_goes_first(
    converted: Path, models: Path, tmp_path: Path, service: RunningService, bucket: Bucket
) -> None:
    """As in a server without the flag."""
    shutil.copytree(models / "linear" / "10", tmp_path / "1")
    shutil.copy(converted / "model.tflite", tmp_path / "1")
    bucket.put_folder("tflite/both", tmp_path)
    report = Jobs(bucket, service, "tflite-both").run(f"{bucket.uri}/tflite/both/")
    assert json.loads(report["prediction"]) == [10, 20, 30, 40]


def test_versions_go_before_a_file_above_them(
    converted: Path, models: Path, service: RunningService, bucket: Bucket
) -> None:
    bucket.put_folder("tflite/above/10", models / "linear" / "10")
    bucket.put("tflite/above/model.tflite", (converted / "model.tflite").read_bytes())
    report = Jobs(bucket, service, "tflite-above").run(f"{bucket.uri}/tflite/above/")
    assert report["model_version"] == "10"


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"no model at all", "no TensorFlow Lite model")]
)
def test_a_file_that_is_none_is_told(
    content: bytes, words: str, service: RunningService, bucket: Bucket
) -> None:
    bucket.put("tflite/none/1/model.tflite", content)
    answer = Jobs(bucket, service, "tflite-none").call(f"{bucket.uri}/tflite/none/")
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_a_damaged_one_is_refused_by_the_server(converted: Path, tmp_path: Path) -> None:
    """Or it ends the server, which does not verify the file."""
    damaged = tmp_path / "1"
    damaged.mkdir()
    content = (converted / "model.tflite").read_bytes()
    (damaged / "model.tflite").write_bytes(content[:8] + b"\0" * 100)
    with pytest.raises((ModelLoadError, ServerExited)), ModelServer(damaged):
        pass


def test_a_program_without_the_flag_is_told(converted: Path) -> None:
    found = find_program()
    program = Program(found.command, "a test", found.usage.replace("prefer_tflite_model", "no"))
    with (
        pytest.raises(NotASavedModel, match="no flag --prefer_tflite_model"),
        ModelServer(converted, program=program),
    ):
        pass


@pytest.mark.readme("compressed models")
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_compress_writes_and_compares(precision: str, models: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS.tolist()))
    done = compress(models / "linear", tmp_path / "small", rows, precision)
    assert done.returncode == 0, done.stderr
    assert "compared on 8 rows" in done.stdout
    assert "largest difference of y" in done.stdout
    with ModelServer(tmp_path / "small" / "10") as server:
        found = server.predict({"x": ROWS})["y"]
    assert np.allclose(found, ROWS * 10, atol=0.5)
    again = compress(models / "linear", tmp_path / "small", rows, precision)
    assert again.returncode == 1
    assert "model.tflite" in again.stderr


def test_a_difference_that_is_no_number_is_told() -> None:
    numbers, no_numbers = np.array([1, np.inf, np.nan]), np.array([np.nan, np.inf, np.nan])
    assert _differences([{"y": numbers}], [{"y": numbers}]) == {"y": 0.0}
    assert _differences([{"y": numbers}], [{"y": no_numbers}]) == {"y": np.inf}


def test_compress_tells_what_it_cannot_convert(models: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('"some text"\n')
    done = compress(
        models / "zoo", tmp_path / "small", rows, "float16", "--signature-name", "one_text"
    )
    assert done.returncode == 1
    assert "converter does not take it" in done.stderr
    assert not (tmp_path / "small").exists()


def compress(
    model: Path, output: Path, rows: Path, precision: str, *more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "app.cli", "compress"),
            *("--model", str(model), "--output", str(output), "--rows", str(rows)),
            *("--precision", precision, *more),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
