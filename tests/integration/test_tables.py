"""Tables straight from pandas, with models over tf.Examples; fields chosen in every way in."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.integration.test_formats import Formats, error_of, lines, report_of

# As DataFrame.to_csv() writes it: an index without a name, integers with missing values as floats,
# and nothing for what is missing.
RIDES = """\
,trip_miles,fare,pickup_community_area,payment_type,trip_start_hour,company
0,0.5,6.85,8.0,Cash,18,
1,2,,,Credit Card,7,"Taxi, Inc."
2,17.9,44.25,76.0,,0,Flash Cab
3,1e-05,3.0,32.0,Cash,23,Blue Ribbon Taxi
"""


def in_process(model: Path, signature: str, table: str) -> dict[str, Any]:
    """What TensorFlow itself predicts, from examples that TensorFlow makes."""
    import tensorflow as tf

    examples = []
    for row in csv.DictReader(io.StringIO(table)):
        features = {}
        for name in ("trip_miles", "fare"):
            if row[name]:
                floats = tf.train.FloatList(value=[float(row[name])])
                features[name] = tf.train.Feature(float_list=floats)
        for name in ("pickup_community_area", "trip_start_hour"):
            if row[name]:
                integers = tf.train.Int64List(value=[int(float(row[name]))])
                features[name] = tf.train.Feature(int64_list=integers)
        for name in ("payment_type", "company"):
            if row[name]:
                texts = tf.train.BytesList(value=[row[name].encode()])
                features[name] = tf.train.Feature(bytes_list=texts)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(example.SerializeToString())
    call = tf.saved_model.load(str(model)).signatures[signature]
    (name,) = call.structured_input_signature[1]
    outputs = call(**{name: tf.constant(examples)})
    return {name: output.numpy() for name, output in outputs.items()}


@pytest.mark.readme("CSV", "classify and regress")
@pytest.mark.parametrize("signature", ["serving_default", "classify", "regress"])
def test_taxi_table_predicts_as_tensorflow(
    signature: str, formats: Formats, bucket: Bucket, models: Path
) -> None:
    """A taxi table from pandas is predicted as TensorFlow does."""
    bucket.put("taxi/in.csv", RIDES)
    rows = [
        {name: json.loads(cell) if is_number(cell) else cell or None for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(RIDES))
    ]
    bucket.put("taxi/in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    target = f"taxi-{signature}/"
    model = f"{bucket.uri}/models/taxi/"
    report = report_of(formats("taxi/*", target, signature_name=signature, model=model))
    assert (report["predictions"], report["errors"]) == (8, 0)
    found = lines(bucket.get(f"{target}in.csv.jsonl"))
    assert lines(bucket.get(f"{target}in.jsonl")) == found
    expected = in_process(models / "taxi" / "1", signature, RIDES)
    match signature:
        case "serving_default":
            score, texts = "score", [row["who"].encode() for row in found]
            assert texts == expected["who"].tolist()
            assert texts[0] == b"Cash/none"
            scores = [row["score"] for row in found]
        case "classify":
            score = "scores"
            assert [[row[0][0].encode()] for row in found] == expected["classes"].tolist()
            scores = [row[0][1] for row in found]
        case _:
            score, scores = "outputs", found
    np.testing.assert_array_equal(np.array(scores, np.float32), expected[score].ravel())


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_feature_that_does_not_fit_is_a_bad_row(formats: Formats, bucket: Bucket) -> None:
    header, *rows = RIDES.splitlines()
    text = "\n".join([header, rows[0].replace(",8.0,", ",8.5,"), *rows[1:], "4,,,,,,"])
    bucket.put("taxi-bad/in.csv", text)
    options = {"model": f"{bucket.uri}/models/taxi/", "on_error": "skip", "key_field": "Unnamed: 0"}
    report = report_of(formats("taxi-bad/in.csv", "taxi-bad-out/", **options))
    assert (report["predictions"], report["errors"]) == (3, 2)
    errors = lines(bucket.get("taxi-bad-out/in.csv.jsonl.errors.jsonl"))
    assert [(error["row"], error["key"]) for error in errors] == [(1, "0"), (5, "4")]
    words = "field pickup_community_area: expected an integer (int64), found 8.5"
    assert errors[0]["error"]["message"] == words
    # A feature without a default: those are the model's own words.
    assert "the model failed on it" in errors[1]["error"]["message"]
    keys = [row["key"] for row in lines(bucket.get("taxi-bad-out/in.csv.jsonl"))]
    assert keys == ["1", "2", "3"]


def test_what_an_estimator_exports_takes_tables_too(formats: Formats, bucket: Bucket) -> None:
    bucket.put("estimator/in.csv", ",trip_miles,trip_start_hour\n0,1,8.0\n1,2.5,\n")
    model = f"{bucket.uri}/models/estimator/"
    report_of(formats("estimator/in.csv", "estimator-out/", model=model, output_format="csv"))
    assert bucket.get("estimator-out/in.csv") == b"outputs\n9.0\n1.5\n"
    options = {"model": model, "signature_name": "predict"}
    report_of(formats("estimator/in.csv", "estimator-predict/", **options))
    assert bucket.get("estimator-predict/in.csv.jsonl") == b"9.0\n1.5\n"
    failed = error_of(formats("estimator/in.csv", "never/", model=model, signature_name="text"))
    assert "no column for the input texts" in failed["message"]


@pytest.mark.readme("choosing fields")
@pytest.mark.parametrize(
    "query",
    [
        {"excluded_fields": '"note, old",id'},
        {"excluded_fields": ['"note, old"', "id"]},
        {"included_fields": "a,b,c,d"},
        {"included_fields": ["a,b", "c", "d"]},
    ],
)
def test_names_in_a_url_are_separated_by_commas(
    query: dict[str, Any], service: RunningService, bucket: Bucket
) -> None:
    bucket.put("names/in.csv", 'id,a,b,c,d,"note, old"\n7,1,2,3,4,x\n')
    parameters = {
        "model": f"{bucket.uri}/models/formats/",
        "input": f"{bucket.uri}/names/in.csv",
        "output": f"{bucket.uri}/names-out/",
        "force": "true",
        **query,
    }
    response = requests.get(service.url, params=parameters, timeout=50)
    assert report_of(response)["predictions"] == 1
    (row,) = lines(bucket.get("names-out/in.csv.jsonl"))
    assert row == {"scores": [3.0, 5.0, 7.0, 9.0], "total": 10.0}
