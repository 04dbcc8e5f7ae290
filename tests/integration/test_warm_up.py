"""Requests that a model is sent before its first row."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.framing.tfrecord import frame, read_frames
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.integration.one_row_jobs import FIRST, Jobs, Start, copy, was_kept
from tfserving_launcher import ModelLoadError, ModelServer
from tfserving_launcher.protos import PredictionLog, PredictRequest
from tfserving_launcher.tensors import to_proto

ROW = [[1.0, 2.0, 3.0, 4.0]]


def request(rows: Any, signature_name: str = "", name: str = "x") -> Any:
    """A PredictRequest of `linear`."""
    message = PredictRequest()
    message.model_spec.name = "whatever"
    message.model_spec.signature_name = signature_name
    message.inputs[name].CopyFrom(to_proto(np.array(rows, np.float32)))
    return message


def log_of(message: Any) -> bytes:
    """A record of TF Serving's own warm-up file."""
    log = PredictionLog()
    log.predict_log.request.CopyFrom(message)
    serialized: bytes = log.SerializeToString()
    return serialized


@pytest.fixture(scope="module")
def model(bucket: Bucket, models: Path) -> str:
    return copy(bucket, models, "warm-up/model")


FORMS = {
    "rows.jsonl": b"[1,2,3,4]\n[5,6,7,8]\n",
    "request.bin": request(ROW * 2).SerializeToString(),
    "requests.bin": b"".join(frame(request(ROW).SerializeToString()) for _ in range(3)),
    "tf_serving_warmup_requests": frame(log_of(request(ROW))),
}


@pytest.mark.readme("warm-up")
@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_replayed(
    name: str, service: RunningService, bucket: Bucket, model: str
) -> None:
    bucket.put(f"warm-up/{name}", FORMS[name])
    jobs = Jobs(bucket, service, f"warm-up-{name}")
    report = jobs.run(model, warm_up_data_path=f"{bucket.uri}/warm-up/{name}", warm_up_count=2)
    assert report["prediction"] == jobs.run(model)["prediction"]
    assert report["seconds"]["warm_up"] > 0
    assert report["seconds"]["first_call"] > 0


def test_lines_of_text_are_replayed(service: RunningService, bucket: Bucket) -> None:
    bucket.put("warm-up/lines.txt", "one\ntwo\n")
    jobs = Jobs(bucket, service, "warm-up-text")
    bucket.put("warm-up-text/in.txt", "three\n")
    report = jobs.run(
        f"{bucket.uri}/models/formats/",
        signature_name="lengths",
        input=f"{bucket.uri}/warm-up-text/in.txt",
        warm_up_data_path=f"{bucket.uri}/warm-up/lines.txt",
    )
    assert report["seconds"]["warm_up"] > 0


def test_a_signature_that_fixes_its_batch_gets_one(service: RunningService, bucket: Bucket) -> None:
    bucket.put("warm-up/fixed.jsonl", "[1,2]\n")
    jobs = Jobs(bucket, service, "warm-up-fixed")
    bucket.put("warm-up-fixed/in.jsonl", "[1,2]\n")
    report = jobs.run(
        f"{bucket.uri}/models/zoo/",
        signature_name="fixed",
        warm_up_data_path=f"{bucket.uri}/warm-up/fixed.jsonl",
    )
    assert report["seconds"]["warm_up"] > 0


def test_a_kept_server_is_warmed_up_once(start: Start, bucket: Bucket, model: str) -> None:
    bucket.put("warm-up/once.jsonl", "[1,2,3,4]\n")
    with start(KEEP_MODELS="1") as service:
        jobs = Jobs(bucket, service, "warm-up-once")
        path = f"{bucket.uri}/warm-up/once.jsonl"
        first, second = (jobs.run(model, warm_up_data_path=path) for _ in range(2))
        assert "warm_up" in first["seconds"]
        assert was_kept(second)
        reads = [report["storage_requests"]["read"] for report in (first, second)]
        assert reads[1] < reads[0] - 1, "the file was read again"
        # Another file is another warm-up.
        bucket.put("warm-up/once.jsonl", "[1,2,3]\n")
        assert jobs.call(model, warm_up_data_path=path).status_code == 422


def broadcast(shape: list[int]) -> bytes:
    """A short message for a large tensor."""
    message = PredictRequest()
    tensor = message.inputs["x"]
    tensor.dtype = 1
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(1.0)
    serialized: bytes = message.SerializeToString()
    return serialized


REFUSED = {
    "no_number.jsonl": (b'[1,2,3,4]\n["x",2,3,4]\n', 422, "line 2"),
    "wide.jsonl": (b"[1,2,3,4,5]\n", 422, "line 1"),
    "empty.jsonl": (b"", 422, "holds no request"),
    "rows.csv": (b"1,2,3,4\n", 422, "expected JSON lines"),
    "garbage.bin": (b"\xff\xff\xff garbage", 422, "request 1"),
    "other_signature.bin": (
        request(ROW, signature_name="other").SerializeToString(),
        422,
        "request 1: the model has no signature 'other'",
    ),
    "other_input.bin": (
        request(ROW, name="z").SerializeToString(),
        422,
        "request 1: signature 'serving_default' has no input z",
    ),
    "other_shape.bin": (request([[1.0, 2.0]]).SerializeToString(), 422, "request 1: the model"),
    "second_refused.bin": (
        frame(request(ROW).SerializeToString()) + frame(request([[1.0, 2.0]]).SerializeToString()),
        422,
        "request 2: the model server answered INVALID_ARGUMENT",
    ),
    "cut_off/tf_serving_warmup_requests": (frame(log_of(request(ROW)))[:-5], 422, "request 1"),
    "flipped/tf_serving_warmup_requests": (
        frame(log_of(request(ROW)))[:-5] + b"\0" * 5,
        422,
        "request 1 is damaged",
    ),
    "one_value_for_many.bin": (broadcast([40_000_000, 4]), 413, "request 1: the tensors so far"),
    "no_such_memory.bin": (broadcast([10**12, 4]), 413, "request 1: the tensors so far"),
    "too_many.jsonl": (b"[1,2,3,4]\n" * 1001, 413, "more than 1000 requests"),
    "huge.jsonl": (b"[1,2,3,4]\n" * 7_000_000, 413, "at most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_fails_ends_the_job(
    name: str, service: RunningService, bucket: Bucket, model: str
) -> None:
    content, code, words = REFUSED[name]
    bucket.put(f"warm-up/refused/{name}", content)
    path = f"{bucket.uri}/warm-up/refused/{name}"
    answer = Jobs(bucket, service, "warm-up-refused").call(model, warm_up_data_path=path)
    assert answer.status_code == code, answer.text
    message = answer.json()["error"]["message"]
    assert words in message
    assert path in message
    assert bucket.names("warm-up-refused/out") == []


def test_a_missing_file_is_404(service: RunningService, bucket: Bucket, model: str) -> None:
    path = f"{bucket.uri}/warm-up/nothing.jsonl"
    answer = Jobs(bucket, service, "warm-up-missing").call(model, warm_up_data_path=path)
    assert answer.status_code == 404
    assert path in answer.json()["error"]["message"]


def test_an_instance_warms_its_own_model_up(
    start: Start, bucket: Bucket, models: Path, model: str
) -> None:
    bucket.put("warm-up/own.jsonl", "[1,2,3,4]\n")
    with start(MODEL=model, WARM_UP_DATA_PATH=f"{bucket.uri}/warm-up/own.jsonl") as service:
        assert "warm_up" in service.output()
        jobs = Jobs(bucket, service, "warm-up-own")
        assert was_kept(jobs.run(None))
        bucket.put_folder("warm-up/model/10", models / "linear" / "10")
        assert "warm_up" in jobs.run(None)["seconds"]
    for name in bucket.names("warm-up/model/10/"):
        bucket.delete(name)
    bucket.put("warm-up/own-bad.jsonl", "[1,2,3]\n")
    with (
        pytest.raises(RuntimeError, match="line 1"),
        start(MODEL=model, WARM_UP_DATA_PATH=f"{bucket.uri}/warm-up/own-bad.jsonl"),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (frame(log_of(request(ROW))) * 3, None),
        (b"", None),
        (frame(log_of(request([[1.0]]))), "INVALID_ARGUMENT|Matrix size"),
        (frame(log_of(request(ROW)))[:-3], "DATA_LOSS|TFRecord"),
        (frame(log_of(request(ROW, signature_name="other"))), "other"),
        (frame(log_of(request(ROW))) * 1001, "[Ww]armup records"),
    ],
)
def test_the_server_replays_the_file_in_the_model(
    content: bytes, reason: str | None, models: Path, tmp_path: Path
) -> None:
    """TF Serving's own contract: whatever fails in it ends the load."""
    folder = tmp_path / "1"
    shutil.copytree(models / "linear" / FIRST, folder)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(content)
    if reason is None:
        with ModelServer(folder) as server:
            assert server.predict({"x": ROW})
    else:
        with pytest.raises(ModelLoadError, match=reason), ModelServer(folder):
            pass


def test_the_command_writes_the_file_and_checks_it(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "linear", tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[1,2,3,4]\n" * 20)
    made = command("make", "--model", str(tmp_path / "model"), "--rows", str(rows))
    assert made.returncode == 0, made.stderr
    file = tmp_path / "model" / "10" / "assets.extra" / "tf_serving_warmup_requests"
    assert "10 requests" in made.stdout
    assert str(file) in made.stdout
    (frames,) = read_frames([file.read_bytes()], max_bytes=10_000)
    logs = [PredictionLog.FromString(content) for content in frames.contents]
    assert len(logs) == 10
    assert logs[0].predict_log.request.model_spec.signature_name == "serving_default"
    with ModelServer(file.parent.parent) as server:
        assert server.predict({"x": ROW})
    checked = command("check", "--model", str(tmp_path / "model"))
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("first call") == 2
    # One that is broken is mended.
    file.write_bytes(b"broken")
    again = command(
        *("make", "--model", str(tmp_path / "model"), "--rows", str(rows), "--requests", "1")
    )
    assert "1 requests" in again.stdout


def test_the_command_writes_nothing_that_does_not_load(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "linear", tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("[1,2,3]\n")
    made = command("make", "--model", str(tmp_path / "model"), "--rows", str(rows))
    assert made.returncode == 1
    assert "line 1" in made.stderr
    assert not (tmp_path / "model" / "10" / "assets.extra").exists()
    none = command("check", "--model", str(tmp_path / "model"))
    assert none.returncode == 1
    assert "nothing at" in none.stderr


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "warm-up", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
