"""Models whose inputs are [?, 1], as Keras exports the columns of a table."""

import json

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, jsonl, lines, report_of

ROWS: list[dict[str, object]] = [
    {"price": 1.5, "count": 2, "name": "a", "sold": True},
    {"price": -3, "count": 4, "name": "b, c", "sold": False},
    {"price": [0.5], "count": [6], "name": ["d"], "sold": [True]},
]
EXPECTED = [
    {"label": ["a:2"], "sold": [True], "total": [3.0]},
    {"label": ["b, c:4"], "sold": [False], "total": [-12.0]},
    {"label": ["d:6"], "sold": [True], "total": [3.0]},
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:2], ROWS[2:]], ids=["mixed", "scalars", "lists"])
def test_scalars_and_lists_of_one_are_the_same(
    rows: list[dict[str, object]], formats: Formats, bucket: Bucket
) -> None:
    start = ROWS.index(rows[0])
    bucket.put("columns/in.jsonl", jsonl(rows))
    report_of(_columns(formats, bucket, "columns/in.jsonl"))
    found = lines(bucket.get("columns-out/in.jsonl"))
    assert found == EXPECTED[start : start + len(rows)]


def test_table_of_scalars_is_predicted(formats: Formats, bucket: Bucket) -> None:
    cells = [
        ["id", "sold", "name", "price", "count"],
        ["7", "true", "a", "1.5", "2"],
        ["8", "FALSE", '"b, c"', "-3", "4"],
        ["9", "[true]", '"[""d""]"', "[0.5]", "[6]"],
    ]
    bucket.put("columns/in.csv", "".join(",".join(row) + "\n" for row in cells))
    report_of(_columns(formats, bucket, "columns/in.csv", key_field="id"))
    found = lines(bucket.get("columns-out/in.csv.jsonl"))
    assert [row["prediction"] for row in found] == EXPECTED
    assert [row["key"] for row in found] == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("signature", "name", "content", "expected"),
    [
        ("one_column", "in.jsonl", "1\n2.5\n", [[1.0], [2.5]]),
        ("one_column", "in.jsonl", '{"x": 1}\n{"x": [2.5]}\n', [[1.0], [2.5]]),
        ("one_column", "in.csv", "x\n1\n2.5\n", [[1.0], [2.5]]),
        ("one_column", "in.csv", "anything\n1\n2.5\n", [[1.0], [2.5]]),
        ("one_text", "in.txt", "a b\n\n[c]\n", [["A B"], [""], ["[C]"]]),
        ("one_text", "in.jsonl", '"a"\n["b"]\n{"b64": "Yw=="}\n', [["A"], ["B"], ["C"]]),
        ("one_text", "in.csv", 'text\na\n"[""b""]"\n[c]\n', [["A"], ["B"], ["[C]"]]),
    ],
)
def test_one_input_of_scalars_takes_every_format(
    signature: str,
    name: str,
    content: str,
    expected: list[object],
    formats: Formats,
    bucket: Bucket,
) -> None:
    bucket.put(f"column/{name}", content)
    report_of(_columns(formats, bucket, f"column/{name}", signature_name=signature))
    output = name if name.endswith("jsonl") else f"{name}.jsonl"
    assert lines(bucket.get(f"columns-out/{output}")) == expected


def test_an_empty_cell_is_still_named(formats: Formats, bucket: Bucket) -> None:
    bucket.put("columns/bad.csv", "price,count,name,sold\n1,,a,true\n")
    error = error_of(_columns(formats, bucket, "columns/bad.csv"))
    assert "field count: empty, expected an integer (int64)" in json.dumps(error)


def _columns(formats: Formats, bucket: Bucket, source: str, **changes: object) -> requests.Response:
    parameters = {
        "model": f"{bucket.uri}/models/zoo/",
        "signature_name": "columns",
        "force": True,
        **changes,
    }
    return formats(source, "columns-out/", **parameters)
