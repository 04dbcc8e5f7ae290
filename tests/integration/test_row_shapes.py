"""Rows of different lengths in one file, where the signature leaves a dimension open."""

import json

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, jsonl, lines, report_of

# Lengths as in texts: some are there once, others often, none in order.
ROWS = [[float(n % 7)] * (1 + n * n % 5) for n in range(60)]


def call(formats: Formats, bucket: Bucket, source: str, **changes: object) -> requests.Response:
    model = f"{bucket.uri}/models/zoo/"
    parameters = {"model": model, "signature_name": "any_length", "force": True, **changes}
    return formats(source, "shapes-out/", **parameters)


@pytest.mark.parametrize("batch_size", [None, 1, 7, 60])
@pytest.mark.parametrize("beside", [False, True])
def test_rows_of_all_lengths_are_predicted_in_order(
    batch_size: int | None, *, beside: bool, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("shapes/in.jsonl", jsonl({"k": n, "x": row} for n, row in enumerate(ROWS)))
    fields = {"key_field": "k"} if beside else {"excluded_fields": ["k"]}
    options = {"batch_size": batch_size, **fields}
    assert report_of(call(formats, bucket, "shapes/in.jsonl", **options))["predictions"] == 60
    found = lines(bucket.get("shapes-out/in.jsonl"))
    expected = [{"key": n, "prediction": row} for n, row in enumerate(ROWS)] if beside else ROWS
    assert found == expected


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
def test_outputs_of_one_shape_fit_a_table(
    output_format: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("shapes/in.jsonl", jsonl(ROWS))
    options = {"signature_name": "sum", "output_format": output_format}
    report_of(call(formats, bucket, "shapes/in.jsonl", **options))
    name = "in.jsonl" if output_format == "jsonl" else "in.jsonl.csv"
    texts = bucket.get(f"shapes-out/{name}").decode().splitlines()
    if output_format == "csv":
        assert texts.pop(0) == "sum"
    assert [float(text) for text in texts] == pytest.approx([sum(row) for row in ROWS])


def test_outputs_of_many_shapes_are_refused_for_a_table(formats: Formats, bucket: Bucket) -> None:
    bucket.put("shapes/in.jsonl", jsonl(ROWS))
    failed = error_of(call(formats, bucket, "shapes/in.jsonl", output_format="csv"), 400)
    assert "output y is float32[?, ?], which has no flat form" in failed["message"]


def test_bad_rows_keep_their_numbers_among_shapes(formats: Formats, bucket: Bucket) -> None:
    rows: list[object] = list(ROWS)
    # Some fit no shape, some make the model fail.
    for number in (3, 20, 59):
        rows[number] = [[1]]
    for number in (0, 21, 22, 40):
        rows[number] = [-1.0] * (1 + number % 3)
    bad = (0, 3, 20, 21, 22, 40, 59)
    bucket.put("shapes/bad.jsonl", jsonl(rows))
    options = {"signature_name": "sum", "on_error": "skip"}
    report = report_of(call(formats, bucket, "shapes/bad.jsonl", **options))
    assert (report["predictions"], report["errors"]) == (53, 7)
    good = [sum(row) for number, row in enumerate(ROWS) if number not in bad]
    assert lines(bucket.get("shapes-out/bad.jsonl")) == pytest.approx(good)
    errors = lines(bucket.get("shapes-out/bad.jsonl.errors.jsonl"))
    assert [error["line"] for error in errors] == [number + 1 for number in bad]
    assert [error["instance"] for error in errors] == [rows[number] for number in bad]


def test_the_first_bad_row_among_shapes_is_told(formats: Formats, bucket: Bucket) -> None:
    bucket.put("shapes/first.jsonl", jsonl([[1], [2, 2], [3], [-1, 2], [-5], [4, 4, 4]]))
    failed = error_of(call(formats, bucket, "shapes/first.jsonl", signature_name="sum"))
    assert "line 4: the model failed on it" in failed["message"]


def test_cells_of_lists_may_differ_in_length(formats: Formats, bucket: Bucket) -> None:
    cells = "".join(f'"{json.dumps(row)}"\n' for row in ROWS)
    bucket.put("shapes/in.csv", "x\n" + cells)
    report_of(call(formats, bucket, "shapes/in.csv"))
    assert lines(bucket.get("shapes-out/in.csv.jsonl")) == ROWS
