"""Inputs and outputs without a batch dimension, and batch sizes that only answers show."""

import json

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.integration.test_formats import Formats, error_of, jsonl, lines, report_of

CONSTANTS: dict[str, object] = {"keep_prob": 0.5, "mean": [1, 2, 3]}
ROWS: list[list[float]] = [[1, 2, 3], [3, 2, 1], [0, 0, 0]]
EXPECTED: list[list[float]] = [[0, 0, 0], [1, 0, -1], [-0.5, -1, -1.5]]


def call(formats: Formats, bucket: Bucket, source: str, **changes: object) -> requests.Response:
    parameters = {
        "model": f"{bucket.uri}/models/zoo/",
        "signature_name": "dropout",
        "constants": CONSTANTS,
        "output_filter": ["y"],
        "force": True,
        **changes,
    }
    return formats(source, "constants-out/", **parameters)


@pytest.mark.parametrize("constants", [CONSTANTS, json.dumps(CONSTANTS)])
def test_constants_go_with_each_call(constants: object, formats: Formats, bucket: Bucket) -> None:
    bucket.put("constants/in.jsonl", jsonl(ROWS))
    report_of(call(formats, bucket, "constants/in.jsonl", constants=constants, batch_size=2))
    assert lines(bucket.get("constants-out/in.jsonl")) == EXPECTED


def test_constants_may_be_in_the_url(service: RunningService, bucket: Bucket) -> None:
    bucket.put("constants/in.csv", "a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS))
    parameters: dict[str, str] = {
        "model": f"{bucket.uri}/models/zoo/",
        "input": f"{bucket.uri}/constants/in.csv",
        "output": f"{bucket.uri}/constants-url/",
        "signature_name": "dropout",
        "constants": json.dumps(CONSTANTS),
        "output_filter": "y",
    }
    report_of(requests.get(service.url, params=parameters, timeout=50))
    assert lines(bucket.get("constants-url/in.csv.jsonl")) == EXPECTED
    # Other constants are another job.
    parameters["constants"] = json.dumps({**CONSTANTS, "keep_prob": 1})
    (file,) = report_of(requests.get(service.url, params=parameters, timeout=50))["files"]
    assert file["state"] == "PREDICTED"
    doubled = [[2 * value for value in row] for row in EXPECTED]
    assert lines(bucket.get("constants-url/in.csv.jsonl")) == doubled


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"constants": None}, 422, 'constants={"keep_prob": ...} gives its value for all rows'),
        ({"output_filter": None}, 422, "output_filter=y leaves it out"),
        ({"constants": {**CONSTANTS, "keep": 1}}, 400, "has no input keep, only keep_prob: float"),
        ({"constants": {**CONSTANTS, "keep_prob": "1"}}, 400, "expected a number (float32)"),
        ({"constants": {**CONSTANTS, "keep_prob": [1]}}, 400, "input keep_prob is float32[]:"),
        ({"constants": {**CONSTANTS, "mean": [1]}}, 400, "expected the shape [3], found [1]"),
        ({"constants": {**CONSTANTS, "x": [[1, 2, 3]]}}, 400, "rows have no input"),
        ({"constants": "[1]"}, 400, "must be a JSON object"),
        ({"constants": "{"}, 400, "must be a JSON object"),
        ({"output_filter": ["y", "z"]}, 400, "has no output z, only rate: float32[], step:"),
    ],
)
def test_misfits_are_told_with_what_helps(
    changes: dict[str, object], code: int, words: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("constants/in.jsonl", jsonl(ROWS))
    failed = error_of(call(formats, bucket, "constants/in.jsonl", **changes), code)
    assert words in failed["message"]


PAIRS = [[float(n), n + 0.5] for n in range(20)]


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("to_eight", "output y has the shape [8, 2] for 1 row:"),
        ("eight", "output_filter=z leaves it out; batch_size=8 where the model takes no other"),
    ],
)
def test_a_batch_size_that_answers_show_is_named(
    signature: str, words: str, formats: Formats, bucket: Bucket, service: RunningService
) -> None:
    bucket.put("eights/in.jsonl", jsonl(PAIRS))
    starts = service.output().count("a fresh model server takes over")
    options = {"signature_name": signature, "constants": None, "output_filter": None}
    failed = error_of(call(formats, bucket, "eights/in.jsonl", **options))
    assert words in failed["message"]
    assert "batch_size=8" in failed["message"]
    assert service.output().count("a fresh model server takes over") == starts


@pytest.mark.parametrize("signature", ["to_eight", "in_eights"])
def test_that_batch_size_predicts_every_row(
    signature: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("eights/in.jsonl", jsonl(PAIRS))
    options = {"signature_name": signature, "batch_size": 8}
    report_of(
        call(formats, bucket, "eights/in.jsonl", constants=None, output_filter=None, **options)
    )
    assert lines(bucket.get("constants-out/in.jsonl")) == PAIRS
