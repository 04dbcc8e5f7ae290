"""Likely mistakes, and the words that help."""

import bz2
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, report_of

Done = subprocess.CompletedProcess[str]


def predict(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "predict", *flags],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# The model


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.h5", "a Keras model in HDF5"),
        ("m.h5", "keras.models.load_model('m.h5').export('m') makes a SavedModel of it"),
        ("m.keras", "keras.models.load_model('m.keras').export('m')"),
        ("m.weights.h5", "model.load_weights('m.weights.h5'), model.export('m.weights')"),
        ("m.tflite", "a TensorFlow Lite model"),
        ("m.ckpt", "part of a checkpoint, which holds variables and no graph"),
        ("ckpt-1.index", "part of a checkpoint"),
        ("frozen.pb", "a graph without the folder of a SavedModel"),
    ],
)
@pytest.mark.parametrize("names_file", [True, False])
def test_files_of_other_kinds_are_named(
    name: str, words: str, *, names_file: bool, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"content")
    (tmp_path / "in.jsonl").write_text("1\n")
    model = f"models/{name}" if names_file else "models"
    done = predict(tmp_path, "--model", model, "--input", "in.jsonl", "--output", "out")
    assert done.returncode == 1
    assert words in done.stderr


def test_the_file_of_a_saved_model_names_its_folder(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1\n")
    model = str(models / "unversioned" / "saved_model.pb")
    done = predict(tmp_path, "--model", model, "--input", "in.jsonl", "--output", "out")
    assert done.returncode == 1
    assert f"it belongs to the SavedModel {models / 'unversioned'}/: name that" in done.stderr


# The input


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.jsonl", "[1,2,3,4]")
    return file.getvalue()


ROWS = [[1.0, 2.0, 3.0, 4.0]] * 3
CONTENTS = {
    "Parquet": b"PAR1" + bytes(20),
    "Avro": b"Obj\x01" + bytes(20),
    "a zip archive, or an xlsx table": archive(),
    "compressed with bzip2": bz2.compress(b"[1,2,3,4]"),
    "compressed with zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(20),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "text in UTF-16": "[1,2,3,4]\n".encode("utf-16"),
}


@pytest.mark.parametrize("what", sorted(CONTENTS))
@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.txt", "in"])
def test_other_formats_are_recognised(
    what: str, name: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put(f"mistakes/{name}", CONTENTS[what])
    signature = "lengths" if name == "in.txt" else "serving_default"
    options = {"signature_name": signature, "on_error": "skip"}
    failed = error_of(formats(f"mistakes/{name}", "never/", **options))
    assert f"mistakes/{name} is {what}; " in failed["message"]
    assert bucket.names("never/") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(ROWS, indent=1), "jq -c '.[]' makes a line of each element"),
        (json.dumps([{"x": row} for row in ROWS]), "jq -c '.[]' makes a line of each element"),
        (json.dumps({"instances": ROWS}), "jq -c '.instances[]' makes a line of each instance"),
        (json.dumps({"inputs": ROWS}, indent=2), "jq -c '.inputs[]' makes a line"),
        ("".join(json.dumps({"x": row}, indent=2) for row in ROWS), "jq -c . makes lines of it"),
        ("\ufeff" + json.dumps({"instances": ROWS}), "jq -c '.instances[]'"),
    ],
)
def test_json_that_is_no_json_lines_is_recognised(
    text: str, words: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("mistakes/whole.json", text)
    failed = error_of(formats("mistakes/whole.json", "never/", on_error="skip"))
    assert words in failed["message"]


@pytest.mark.parametrize(
    ("signature", "line"),
    [
        ("matrix", "[[1,2,3],[4,5,6]]"),
        ("serving_default", " [ 1, 2, 3]"),
        ("string_matrix", '[[{"b64":"YQ=="},"b"],["c","d"]]'),
    ],
)
def test_rows_that_look_like_arrays_are_still_rows(
    signature: str, line: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("mistakes/rows.jsonl", f"{line}\n{line}\n")
    model = f"{bucket.uri}/models/zoo/"
    options = {"signature_name": signature, "model": model, "force": True}
    report = report_of(formats("mistakes/rows.jsonl", "rows-out/", **options))
    assert report["predictions"] == 2


# The command line


def test_missing_credentials_name_the_command(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1\n")
    flags = ("--model", "gs://bucket/m/", "--input", "in.jsonl", "--output", "out")
    environment = {
        "HOME": str(tmp_path),
        "STORAGE_EMULATOR_HOST": "",
        "GOOGLE_APPLICATION_CREDENTIALS": "",
        "CLOUDSDK_CONFIG": str(tmp_path),
        # Nobody is asked whether this is a machine of Google's.
        "NO_GCE_CHECK": "true",
    }
    done = predict(tmp_path, *flags, environment=environment)
    assert done.returncode == 1
    assert "gcloud auth application-default login makes them" in done.stderr


def test_names_that_a_shell_has_put_in_are_explained(tmp_path: Path) -> None:
    done = predict(
        tmp_path, "--model", "m", "--input", "a.jsonl", "b.jsonl", "c.jsonl", "--output", "out"
    )
    assert done.returncode == 2
    assert "unexpected argument 'b.jsonl'" in done.stderr
    assert "--input 'data/*.jsonl'" in done.stderr


def test_an_output_folder_that_cannot_be_made_is_told(models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("[1,2,3,4]\n")
    model = str(models / "linear")
    done = predict(tmp_path, "--model", model, "--input", "in.jsonl", "--output", "/proc/x")
    assert done.returncode == 2
    assert "output: the folder /proc/x cannot be made" in done.stderr


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.2, 0.4, 0.7, 1.1])
def test_ctrl_c_ends_with_130_at_any_moment(seconds: float, models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("100000\n")
    # While the interpreter itself starts, nobody can handle the signal.
    program = "from app.cli import main; print('started', flush=True); main()"
    argv = [sys.executable, "-c", program, "predict", "--signature-name", "slow"]
    argv += ["--model", str(models / "zoo"), "--input", "in.jsonl", "--output", "out"]
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert b"Traceback" not in stderr + stdout
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_wrong_variable_is_one_record_and_exit_2() -> None:
    argv = [sys.executable, "-m", "gunicorn", "-c", "python:app.gunicorn_conf", "app.wsgi:app"]
    done = subprocess.run(
        argv,
        env={**os.environ, "CALL_TIMEOUT_SECONDS": "soon"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    record = json.loads(line)
    assert record["severity"] == "CRITICAL"
    assert record["message"].startswith("CALL_TIMEOUT_SECONDS must be a number of seconds")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho libtensorflow.so is missing\nexit 127\n", "exit status 127: libtensor"),
        ("#!/bin/sh\nkill -ILL $$\n", "killed by SIGILL, so it is built for another CPU"),
        ("#!/bin/sh\necho usage of another program\n", "it is no model server"),
        ("#!/no/such/interpreter\n", "cannot be run: No such file"),
    ],
)
def test_a_program_that_cannot_run_is_not_worth_a_retry(
    script: str, words: str, models: Path, tmp_path: Path
) -> None:
    program = tmp_path / "server"
    program.write_text(script)
    program.chmod(0o755)
    (tmp_path / "in.jsonl").write_text("[1,2,3,4]\n")
    flags = ("--model", str(models / "linear"), "--input", "in.jsonl", "--output", "out")
    done = predict(tmp_path, *flags, environment={"TENSORFLOW_MODEL_SERVER": str(program)})
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["status"]) == (500, "INTERNAL")
    assert words in error["message"]
