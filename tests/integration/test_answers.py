"""Answers of the model that are large, not text, or the same error for every row."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of
from tests.fakes.processes import RunningService, gunicorn

Call = Callable[..., requests.Response]


@pytest.fixture
def call(service: RunningService, bucket: Bucket) -> Call:
    """A job over `lines` with a signature of the zoo; `changes` over it."""

    def post(folder: str, lines: list[str], **changes: object) -> requests.Response:
        bucket.put(f"{folder}/in.jsonl", "".join(f"{line}\n" for line in lines))
        parameters = {
            "model": f"{bucket.uri}/models/zoo/",
            "input": f"{bucket.uri}/{folder}/in.jsonl",
            "output": f"{bucket.uri}/{folder}/out/",
            **changes,
        }
        return requests.post(service.url, json=parameters, timeout=55)

    return post


def message(response: requests.Response, code: int, status: str) -> str:
    assert response.status_code == code, response.text
    assert response.json()["error"]["status"] == status
    text: str = response.json()["error"]["message"]
    return text


def errors_of(bucket: Bucket, name: str) -> list[tuple[int, str]]:
    rows = [json.loads(line) for line in bucket.get(name).splitlines()]
    return [(row["line"], row["error"]["message"]) for row in rows]


# Large answers


def rows_of(data: bytes) -> list[tuple[int, Any]]:
    """How many values each prediction has, and the first of them."""
    rows = [json.loads(line) for line in data.splitlines()]
    return [(len(row), row[0]) for row in rows]


@pytest.fixture(scope="module")
def own_service(gcs_url: str, temporary_folder: Path) -> Iterator[RunningService]:
    """One whose memory nothing else has used."""
    environment = {"STORAGE_EMULATOR_HOST": gcs_url, "TMPDIR": str(temporary_folder)}
    with gunicorn(environment) as running:
        yield running


@pytest.mark.parametrize(
    ("signature", "lines", "sizes"),
    [
        ("mask", ["0.5"] * 300, [65_536] * 300),
        ("million", ["0.5"] * 12, [1_000_000] * 12),
        ("as_many", ["3"] * 50 + ["1000000"] * 6 + ["4"] * 50, None),
    ],
)
def test_memory_does_not_follow_the_answers(
    signature: str,
    lines: list[str],
    sizes: list[int] | None,
    own_service: RunningService,
    bucket: Bucket,
) -> None:
    """150 MB hold whatever is predicted, for rows of up to 4 MB of answer."""
    bucket.put(f"large-{signature}/in.jsonl", "".join(f"{line}\n" for line in lines))
    parameters = {
        "model": f"{bucket.uri}/models/zoo/",
        "input": f"{bucket.uri}/large-{signature}/in.jsonl",
        "output": f"{bucket.uri}/large-{signature}/out/",
        "signature_name": signature,
        "output_compression": "gzip",
    }
    response = requests.post(own_service.url, json=parameters, timeout=55)
    assert response.status_code == 200, response.text
    found = rows_of(bucket.get(f"large-{signature}/out/in.jsonl.gz"))
    assert len(found) == len(lines)
    if sizes is not None:
        assert found == [(size, 0.5) for size in sizes]
    (worker,) = psutil.Process(own_service.process.pid).children()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 150 * 1024


def test_too_large_answer_is_that_rows_error(call: Call, bucket: Bucket) -> None:
    """Its neighbours keep their predictions, whatever batch they were in."""
    lines = ["2", "2", "2", "5000000", "2", "2"]
    words = "the answer to one row does not fit"
    failed = call("too-large", lines, signature_name="as_many")
    assert "in.jsonl, line 4" in message(failed, 413, "OUT_OF_RANGE")
    assert words in failed.json()["error"]["message"]
    assert "MAX_ANSWER_BYTES" in failed.json()["error"]["message"]
    done = call("too-large", lines, signature_name="as_many", on_error="skip")
    assert done.json()["predictions"] == 5, done.text
    ((line, why),) = errors_of(bucket, "too-large/out/in.jsonl.errors.jsonl")
    assert line == 4
    assert words in why


# Strings that are not UTF-8


def test_text_that_is_not_utf8_is_that_rows_error(call: Call, bucket: Bucket) -> None:
    lines = ['"a"', '{"b64": "/w=="}', '"b"', "oops", '{"b64": "gA=="}', '"c"']
    failed = call("not-utf8", lines, signature_name="not_text")
    text = message(failed, 422, "INVALID_ARGUMENT")
    assert "in.jsonl, line 2: " in text
    assert "output raw is not UTF-8 text" in text
    done = call("not-utf8", lines, signature_name="not_text", on_error="skip", key_field="")
    assert done.json()["predictions"] == 3, done.text
    assert bucket.get("not-utf8/out/in.jsonl") == b'"a"\n"b"\n"c"\n'
    errors = errors_of(bucket, "not-utf8/out/in.jsonl.errors.jsonl")
    assert [line for line, _ in errors] == [2, 4, 5]
    assert "export it as raw_bytes" in errors[2][1]


def test_not_utf8_keeps_keys_with_rows(call: Call, bucket: Bucket) -> None:
    """Text that is not UTF-8 leaves keys with their rows."""
    lines = [
        '{"id": 1, "data": "a"}',
        '{"id": 2, "data": {"b64": "/w=="}}',
        '{"id": 3, "data": "c"}',
    ]
    done = call("keyed", lines, signature_name="not_text", on_error="skip", key_field="id")
    assert done.status_code == 200, done.text
    predictions = [json.loads(line) for line in bucket.get("keyed/out/in.jsonl").splitlines()]
    assert predictions == [{"key": 1, "prediction": "a"}, {"key": 3, "prediction": "c"}]
    (error,) = bucket.get("keyed/out/in.jsonl.errors.jsonl").splitlines()
    assert json.loads(error)["key"] == 2


# The model, not the rows


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize("rows", [1, 300])
@pytest.mark.parametrize(
    ("model", "row", "words"),
    [
        ("untracked", "[1,2,3]", "model.export(folder)"),
        ("no_tables", '"a"', "tf.tables_initializer()"),
    ],
)
def test_model_without_state_has_remedy(
    model: str, row: str, words: str, rows: int, on_error: str, call: Call, bucket: Bucket
) -> None:
    """A model without its state is blamed with the remedy."""
    folder = f"blamed-{model}-{rows}-{on_error}"
    place = f"{bucket.uri}/models/{model}/"
    failed = call(folder, [row] * rows, model=place, on_error=on_error)
    text = message(failed, 422, "FAILED_PRECONDITION")
    assert text.startswith("the model cannot predict any row: ")
    assert words in text
    assert bucket.names(f"{folder}/out/") == []


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_an_error_that_all_rows_share_is_the_models(
    on_error: str, call: Call, bucket: Bucket
) -> None:
    folder = f"all-fail-{on_error}"
    failed = call(folder, ["-1"] * 5000, signature_name="failing", on_error=on_error)
    text = message(failed, 422, "FAILED_PRECONDITION")
    assert "fails in the same way on all rows that were tried" in text
    assert "x must be positive" in text
    assert bucket.names(f"{folder}/out/") == []


def test_leading_bad_rows_leave_the_model_alone(call: Call, bucket: Bucket) -> None:
    """They fail alike, and the rows after them, also in other files, are predicted."""
    bucket.put("leading/in/a.jsonl", "-1\n" * 40)
    done = call("leading", ["-1"] * 100 + ["4"] * 50, signature_name="failing", on_error="skip")
    report = done.json()
    assert (report.get("predictions"), report.get("errors")) == (50, 100), done.text


def test_rows_that_fail_in_different_ways_are_to_blame(call: Call, bucket: Bucket) -> None:
    """The first rows all fail, and what the model says of each is its own."""
    lines = [f"-{row}" for row in range(1, 9)] + ["4"] * 2
    done = call("own-words", lines, signature_name="failing", on_error="skip")
    assert done.json().get("predictions") == 2, done.text
    assert len(errors_of(bucket, "own-words/out/in.jsonl.errors.jsonl")) == 8


@pytest.mark.parametrize("lines", [["x"], ["x", "-1", "y"], ["-1", "-2"]])
def test_a_job_without_one_good_row_fails(lines: list[str], call: Call, bucket: Bucket) -> None:
    """Its bad rows are there to be looked at, and the same call says the same again."""
    folder = f"no-good-{len(lines)}-{len(lines[0])}"
    for state in ("PREDICTED", "REUSED"):
        failed = call(folder, lines, signature_name="failing", on_error="skip")
        text = message(failed, 422, "INVALID_ARGUMENT")
        assert f"none of the {len(lines)} rows could be predicted" in text
        assert f"{folder}/out/in.jsonl.errors.jsonl has the bad rows" in text
        (file,) = details_of(failed.json())["files"]
        assert (file["state"] == "REUSED") == (state == "REUSED") or file["errors"] == len(lines)
        assert len(errors_of(bucket, f"{folder}/out/in.jsonl.errors.jsonl")) == len(lines)
