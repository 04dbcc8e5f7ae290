"""on_error over HTTP: what becomes of rows that cannot be predicted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of
from tests.fakes.processes import RunningService, gunicorn

Call = Callable[..., requests.Response]

GOOD = "[1,2,3]"
PREDICTED = "[3.0,5.0,7.0]"


@pytest.fixture
def call(service: RunningService, bucket: Bucket) -> Call:
    """A job with the zoo's default signature (2x + 1 of three floats), `changes` over it."""

    def post(**changes: object) -> requests.Response:
        parameters = {"model": f"{bucket.uri}/models/zoo/", "on_error": "skip", **changes}
        return requests.post(service.url, json=parameters, timeout=50)

    return post


def skipped(bucket: Bucket, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bucket.get(name).decode().splitlines()]


@pytest.mark.readme("a bad row", "errors report")
def test_bad_rows_go_to_errors_file(call: Call, bucket: Bucket) -> None:
    """Bad rows go to a file of their own with line instance and error."""
    lines = [GOOD, "[1,2", '[1,2,"x"]', "", '{"x":[4,5]}', GOOD, "[1,NaN,true]", "\xff\x00"]
    bucket.put("skip/in/a.jsonl", "\n".join(lines).encode("latin-1"))
    bucket.put("skip/in/b.jsonl", GOOD)
    response = call(input=f"{bucket.uri}/skip/in/", output=f"{bucket.uri}/skip/out/")
    assert response.status_code == 200, response.text
    report = response.json()
    assert (report["instances"], report["predictions"], report["errors"]) == (8, 3, 5)
    first, second = report["files"]
    assert first["errors_output"] == f"{bucket.uri}/skip/out/a.jsonl.errors.jsonl"
    assert (first["instances"], first["predictions"], first["errors"]) == (7, 2, 5)
    assert second["errors_output"] is None
    assert bucket.names("skip/out/") == [
        "skip/out/a.jsonl",
        "skip/out/a.jsonl.errors.jsonl",
        "skip/out/b.jsonl",
    ]
    assert bucket.get("skip/out/a.jsonl").decode() == f"{PREDICTED}\n" * 2
    errors = skipped(bucket, "skip/out/a.jsonl.errors.jsonl")
    assert [error["line"] for error in errors] == [2, 3, 5, 7, 8]
    assert [error["instance"] for error in errors] == [
        "[1,2",
        [1, 2, "x"],
        {"x": [4, 5]},
        "[1,NaN,true]",
        "\ufffd\x00",
    ]
    for error in errors:
        assert set(error) == {"line", "instance", "error"}
        assert (error["error"]["code"], error["error"]["status"]) == (422, "INVALID_ARGUMENT")
    words = [error["error"]["message"] for error in errors]
    assert words[1] == 'field x[2]: expected a number (float32), found "x"'
    assert words[2] == "field x: expected the shape [3], found [2]"


@pytest.mark.parametrize("batch_size", [1, 3, 5, 4096])
def test_failing_rows_are_found_others_predicted(
    batch_size: int, call: Call, bucket: Bucket
) -> None:
    """Rows on which the model fails are found and the others keep their predictions."""
    values = [4.0, -1.0, 9.0, 16.0, -4.0, -9.0, 25.0, 36.0, 49.0, -16.0, 64.0]
    folder = f"halving-{batch_size}"
    bucket.put(f"{folder}/in.jsonl", "".join(f"{value}\n" for value in values) + "oops\n")
    response = call(
        signature_name="failing",
        batch_size=batch_size,
        input=f"{bucket.uri}/{folder}/in.jsonl",
        output=f"{bucket.uri}/{folder}/out/",
    )
    assert response.status_code == 200, response.text
    roots = "".join(f"{value**0.5}\n" for value in values if value > 0)
    assert bucket.get(f"{folder}/out/in.jsonl").decode() == roots
    errors = skipped(bucket, f"{folder}/out/in.jsonl.errors.jsonl")
    bad = [number for number, value in enumerate(values, 1) if value < 0]
    assert [error["line"] for error in errors] == [*bad, 12]
    assert [error["instance"] for error in errors[:-1]] == [values[line - 1] for line in bad]
    assert all("x must be positive" in error["error"]["message"] for error in errors[:-1])


def test_a_batch_of_fixed_size_is_halved_too(call: Call, bucket: Bucket) -> None:
    rows = ["[0,0]", "[1,1]", "[1,2", "[2,2]", "[3,3]", "[4,4]"]
    bucket.put("fixed-skip/in.jsonl", "\n".join(rows))
    response = call(
        signature_name="fixed",
        input=f"{bucket.uri}/fixed-skip/in.jsonl",
        output=f"{bucket.uri}/fixed-skip/out/",
    )
    assert response.json()["errors"] == 1, response.text
    predictions = bucket.get("fixed-skip/out/in.jsonl").decode().splitlines()
    assert [json.loads(line)["y"][0] for line in predictions] == [0, 1, 2, 3, 4]


def test_a_file_of_bad_rows_alone_has_an_empty_output(call: Call, bucket: Bucket) -> None:
    bucket.put("all-bad/in/a.jsonl", "x\ny\n")
    bucket.put("all-bad/in/b.jsonl", GOOD)
    response = call(input=f"{bucket.uri}/all-bad/in/", output=f"{bucket.uri}/all-bad/out/")
    assert (response.json()["predictions"], response.json()["errors"]) == (1, 2)
    assert bucket.get("all-bad/out/a.jsonl") == b""


def test_too_long_line_is_bad_and_its_start_shown(
    bucket: Bucket, gcs_url: str, temporary_folder: Path
) -> None:
    """A line that is too long is a bad row of which the beginning is shown."""
    long = "[" + "1," * 50_000 + "1]"
    bucket.put("long/in.jsonl", f"{GOOD}\n{long}\n{GOOD}\n{long}")
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "MAX_LINE_BYTES": "10000",
        "MAX_ERROR_FRACTION": "0.5",
    }
    parameters = {
        "model": f"{bucket.uri}/models/zoo/",
        "input": f"{bucket.uri}/long/in.jsonl",
        "output": f"{bucket.uri}/long/out/",
    }
    with gunicorn(environment) as own_service:
        failed = requests.post(own_service.url, json=parameters, timeout=50)
        assert failed.status_code == 413
        message = failed.json()["error"]["message"]
        assert message.startswith(f"{bucket.uri}/long/in.jsonl, line 2: longer than 10000 bytes")
        assert bucket.names("long/out/") == []
        done = requests.post(own_service.url, json={**parameters, "on_error": "skip"}, timeout=50)
        assert (done.json()["predictions"], done.json()["errors"]) == (2, 2)
        errors = skipped(bucket, "long/out/in.jsonl.errors.jsonl")
        assert [error["line"] for error in errors] == [2, 4]
        assert {error["error"]["code"] for error in errors} == {413}
        for error in errors:
            assert isinstance(error["instance"], str)
            assert long.startswith(error["instance"])
            assert len(error["instance"]) < 1000
        # One more bad row is more than half of them.
        bucket.put("long/in.jsonl", f"{GOOD}\n{long}\n{GOOD}\n{long}\nx")
        failed = requests.post(own_service.url, json={**parameters, "on_error": "skip"}, timeout=50)
        assert failed.status_code == 422
        told = failed.json()["error"]["message"]
        assert "3 of 5 rows are bad" in told
        assert "the first one is line 2: longer than 10000 bytes" in told
        assert bucket.get("long/out/in.jsonl").decode() == f"{PREDICTED}\n" * 2


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1", "-1", "2", "x"], "line 2: the model failed on it"),
        (["1", "x", "-1", "y"], "line 2: invalid JSON"),
        (["1", "-1", "x" * 20_000_000], "line 2: the model failed on it"),
        (["1", "x", "x" * 20_000_000, "y"], "line 2: invalid JSON"),
        (["1", "2", "x" * 20_000_000, "y"], "line 3: longer than"),
        (["x"], "line 1: invalid JSON"),
        (["1"] * 9000 + ["-1"] + ["1"] * 3000 + ["x"], "line 9001: the model failed on it"),
    ],
)
def test_the_first_bad_row_is_the_one_that_is_told(
    lines: list[str], words: str, call: Call, bucket: Bucket
) -> None:
    bucket.put("first-bad/in.jsonl", "\n".join(lines))
    response = call(
        signature_name="failing",
        input=f"{bucket.uri}/first-bad/in.jsonl",
        output=f"{bucket.uri}/first-bad/out/",
        on_error="fail",
    )
    assert f"in.jsonl, {words}" in response.json()["error"]["message"], response.text


def test_long_names_of_fields_are_shortened(call: Call, bucket: Bucket) -> None:
    bucket.put("long-key/in.jsonl", json.dumps({"x" * 300_000: [1, 2, 3]}))
    response = call(
        input=f"{bucket.uri}/long-key/in.jsonl",
        output=f"{bucket.uri}/long-key/out/",
        on_error="fail",
    )
    assert response.status_code == 422
    assert len(response.text) < 2000


@pytest.mark.readme("partial output")
def test_files_that_were_complete_stay_and_are_told_of(call: Call, bucket: Bucket) -> None:
    bucket.put("told/in/a.jsonl", f"{GOOD}\n{GOOD}\n")
    bucket.put("told/in/b.jsonl", "[1,2\n")
    bucket.put("told/in/c.jsonl", GOOD)
    response = call(
        input=f"{bucket.uri}/told/in/", output=f"{bucket.uri}/told/out/", on_error="fail"
    )
    assert response.status_code == 422
    details = details_of(response.json())
    assert [file["output"] for file in details["files"]] == [f"{bucket.uri}/told/out/a.jsonl"]
    assert (details["predictions"], details["files_missing"]) == (2, 2)
    assert details["seconds"]["total"] > 0
    assert bucket.names("told/out/") == ["told/out/a.jsonl"]


def test_two_outputs_of_one_name_are_refused(call: Call, bucket: Bucket) -> None:
    bucket.put("clash/in/a.jsonl", GOOD)
    bucket.put("clash/in/a.jsonl.errors.jsonl", GOOD)
    places = {"input": f"{bucket.uri}/clash/in/", "output": f"{bucket.uri}/clash/out/"}
    response = call(**places)
    assert response.status_code == 400
    assert "is another output of this job" in response.json()["error"]["message"]
    # Without skipping there is no file of errors; nor does a second call take one for it.
    for _ in range(2):
        assert call(**places, on_error="fail").status_code == 200
        assert len(bucket.names("clash/out/")) == 2


@pytest.mark.parametrize(
    "line", ["[" * 100_000 + "]" * 100_000, "[" * 100_000, '{"x":' * 50_000, "1" * 1_000_000]
)
def test_monstrous_json_is_a_bad_row(line: str, call: Call, bucket: Bucket) -> None:
    folder = f"monster-{len(line)}-{line[0]}"
    bucket.put(f"{folder}/in.jsonl", f"{GOOD}\n{line}\n{GOOD}\n")
    places = {
        "input": f"{bucket.uri}/{folder}/in.jsonl",
        "output": f"{bucket.uri}/{folder}/out/",
    }
    failed = call(**places, on_error="fail")
    assert failed.status_code == 422
    assert "line 2" in failed.json()["error"]["message"]
    assert len(failed.text) < 2000
    assert call(**places).json()["predictions"] == 2
