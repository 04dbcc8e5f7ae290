"""Rows that keep their identity: keys, instances, and the fields that the model sees."""

import json
from typing import Any

import pytest

from app.framing.tfrecord import frame
from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, example, jsonl, lines, report_of

# As they stand in a file: what comes back is the same text.
KEYS = [
    '"plain"',
    r'"\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00 é 😀"',
    "9223372036854775807",
    "-9223372036854775808",
    "123456789012345678901234567890",
    "1.10",
    "-0.0",
    "1E+400",
    "null",
    "true",
    '{"site":{"id":[1,2.50,{"x":null}]},"a":"b"}',
    "[]",
    '""',
]


@pytest.mark.readme("keys and instances", "row order")
def test_keys_come_back_with_their_type_and_every_digit(formats: Formats, bucket: Bucket) -> None:
    keys = [key for key in KEYS if key != "1E+400"]
    rows = [f'{{"id": {key}, "x": [{n}, 0, 0, 0]}}' for n, key in enumerate(keys)]
    bucket.put("keys/in.jsonl", "\n".join(rows))
    report_of(formats("keys/in.jsonl", "keys-out/", key_field="id", batch_size=5))
    out = bucket.get("keys-out/in.jsonl").decode().splitlines()
    assert [line.partition(',"prediction":')[0] for line in out] == [f'{{"key":{k}' for k in keys]
    assert [json.loads(line)["prediction"]["total"] for line in out] == list(range(len(keys)))


@pytest.mark.readme("keys and instances")
def test_instances_come_back_as_they_stand_in_the_file(formats: Formats, bucket: Bucket) -> None:
    rows = ['{"x" : [1,2, 3.10,4]}', "[1e0, 2, 3, 4]", '{"x": [NaN, -Infinity, 1, 2]}']
    bucket.put("echo/in.jsonl", "\n".join(rows))
    report_of(formats("echo/in.jsonl", "echo-out/", include_instance=True))
    out = bucket.get("echo-out/in.jsonl").decode().splitlines()
    assert out[0].startswith('{"instance":{"x" : [1,2, 3.10,4]},"prediction":{"scores":[3.0,')
    assert out[1].startswith('{"instance":[1e0, 2, 3, 4],"prediction":')
    # The tokens that JSON does not have are strings, as in predictions.
    assert out[2].startswith('{"instance":{"x": ["NaN", "-Infinity", 1, 2]},"prediction":')
    assert json.loads(out[2])["prediction"]["scores"] == ["NaN", "-Infinity", 3.0, 5.0]


@pytest.mark.readme("choosing fields")
@pytest.mark.parametrize(
    "options", [{"included_fields": ["x"]}, {"excluded_fields": ["note", "ignored"]}]
)
def test_the_model_sees_only_the_fields_that_it_should(
    options: dict[str, Any], formats: Formats, bucket: Bucket
) -> None:
    rows = [{"note": {"deep": [1]}, "x": [n, 0, 0, 0], "k": n} for n in range(3)]
    bucket.put("fields/in.jsonl", jsonl(rows))
    target = f"fields-{next(iter(options))}/"
    report_of(formats("fields/in.jsonl", target, key_field="k", include_instance=True, **options))
    out = lines(bucket.get(f"{target}in.jsonl"))
    assert [(row["key"], row["instance"]) for row in out] == [(n, rows[n]) for n in range(3)]
    assert [row["prediction"]["total"] for row in out] == [0.0, 1.0, 2.0]


@pytest.mark.readme("a bad row", "errors report")
def test_bad_rows_carry_keys(formats: Formats, bucket: Bucket) -> None:
    """Bad rows carry their keys and the others keep theirs."""
    good = [{"k": f"row {n}", "x": n} for n in (1.0, 4.0, 9.0)]
    failing = {"k": "fails in the model", "x": -1.0}
    odd = ['{"k": "no number", "x": "1"}', '{"x": 1.0}', "[1]", "{"]
    text = jsonl([good[0], failing]).decode() + "\n".join(odd) + "\n" + jsonl(good[1:]).decode()
    bucket.put("key-errors/in.jsonl", text)
    report = report_of(
        formats(
            "key-errors/in.jsonl",
            "key-errors-out/",
            model=f"{bucket.uri}/models/zoo/",
            signature_name="failing",
            key_field="k",
            on_error="skip",
        )
    )
    assert (report["predictions"], report["errors"]) == (3, 5)
    out = lines(bucket.get("key-errors-out/in.jsonl"))
    assert out == [{"key": row["k"], "prediction": n} for n, row in enumerate(good, 1)]
    errors = lines(bucket.get("key-errors-out/in.jsonl.errors.jsonl"))
    assert [row["line"] for row in errors] == [2, 3, 4, 5, 6]
    assert [row.get("key") for row in errors] == [
        "fails in the model",
        "no number",
        None,
        None,
        None,
    ]
    assert errors[0]["instance"] == failing
    assert "missing, and it is the key field; found x" in errors[2]["error"]["message"]
    assert "expected an object with fields" in errors[3]["error"]["message"]


@pytest.mark.readme("keys and instances")
def test_keys_of_tables_and_of_examples(formats: Formats, bucket: Bucket) -> None:
    bucket.put("key-table/in.csv", 'a,site,b,c,d\n1,007,2,3,4\n1,"x,""y""",2,3,4\n')
    report_of(formats("key-table/in.csv", "key-out/", key_field="site", include_instance=True))
    out = lines(bucket.get("key-out/in.csv.jsonl"))
    assert [row["key"] for row in out] == ["007", 'x,"y"']
    assert out[0]["instance"] == {"a": 1, "site": "007", "b": 2, "c": 3, "d": 4}
    numbers = [1.0, 2.0, 3.0, 4.0]
    ids: list[object] = ["text", {"b64": "//8="}, 2**63 - 1, 1.1, ["a", "b"], []]
    records = b"".join(frame(example(numbers, id=one)) for one in ids)
    bucket.put("key-records/in.tfrecord", records + frame(example(numbers)) + frame(b"\xff"))
    options = {"signature_name": "examples", "key_field": "id", "on_error": "skip"}
    report = report_of(formats("key-records/in.tfrecord", "key-out/", **options))
    assert (report["predictions"], report["errors"]) == (6, 2)
    rows = lines(bucket.get("key-out/in.tfrecord.jsonl"))
    assert [row["key"] for row in rows] == ids
    errors = lines(bucket.get("key-out/in.tfrecord.jsonl.errors.jsonl"))
    assert [row["record"] for row in errors] == [7, 8]


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("in.csv", "a,b,c,d\n", {"key_field": "id"}, "no column id; the header has a, b, c, d"),
        ("in.txt", "x", {"key_field": "id"}, "there are no fields to choose"),
        ("in.tfrecord", "", {"excluded_fields": ["a"]}, "there are no fields to choose"),
    ],
)
def test_fields_that_a_file_cannot_have_are_told_of(
    name: str,
    content: str,
    options: dict[str, Any],
    words: str,
    formats: Formats,
    bucket: Bucket,
) -> None:
    bucket.put(f"no-fields/{name}", content)
    signature = "lengths" if name.endswith("txt") else "examples"
    options["signature_name"] = "serving_default" if name.endswith("csv") else signature
    failed = error_of(formats(f"no-fields/{name}", "no-fields-out/", **options))
    assert words in failed["message"]
