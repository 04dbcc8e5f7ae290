"""Signatures beyond the ordinary: those over tf.Examples, and inputs with defaults."""

from typing import Any

import pytest

from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, jsonl, lines, report_of


@pytest.mark.readme("classify and regress")
def test_classify_takes_features_as_tf_serving(formats: Formats, bucket: Bucket) -> None:
    """Features are classified as TF Serving's classify api does."""
    rows: list[object] = [
        {"x": [0.5, 1.0, 2.25, -1.0], "other": "text", "more": [1, 2], "flag": True},
        {"x": [1, 2, 3.0, 4]},
        {"x": ["1", 2, 3, 4]},
        {"x": [1.0, None, 3.0, 4.0]},
        [1.0],
        {"x": None},
        {"x": [1.0, 2.0, 3.0, 4.0], "more": [1, 2.5]},
    ]
    bucket.put("classify/in.jsonl", jsonl(rows))
    options = {"signature_name": "classify", "on_error": "skip"}
    report = report_of(formats("classify/in.jsonl", "classify-out/", **options))
    assert (report["predictions"], report["errors"]) == (2, 5)
    assert bucket.get("classify-out/in.jsonl").decode() == (
        '[["low",0.5],["mid",1.0],["high",2.25],["a \\"quoted\\", one",-1.0]]\n'
        '[["low",1.0],["mid",2.0],["high",3.0],["a \\"quoted\\", one",4.0]]\n'
    )
    errors = lines(bucket.get("classify-out/in.jsonl.errors.jsonl"))
    messages = [error["error"]["message"] for error in errors]
    assert messages[0] == 'field x: expected a number (float), found "1"'
    assert messages[1] == "field x: expected a number (float), found null"
    assert "expected an object with features" in messages[2]
    # The model has no default for the feature that is left out.
    assert "the model failed on it" in messages[3]
    assert "expected values of one kind, found float and int64" in messages[4]


@pytest.mark.readme("classify and regress", "signature choice")
@pytest.mark.parametrize(
    ("signature", "line"),
    [
        ("regress", "1.5\n"),
        ("scores_only", '[["",1.5],["",2.0],["",3.0],["",4.0]]\n'),
        ("defaults", "15.5\n"),
    ],
)
def test_each_signature_answers_in_its_own_form(
    signature: str, line: str, formats: Formats, bucket: Bucket
) -> None:
    row: dict[str, Any] = {"x": 1.5 if signature == "defaults" else [1.5, 2.0, 3.0, 4.0]}
    bucket.put("forms/in.jsonl", jsonl([{**row, "id": "k"}]))
    options = {"signature_name": signature, "excluded_fields": ["id"]}
    report_of(formats("forms/in.jsonl", f"forms-{signature}/", **options))
    assert bucket.get(f"forms-{signature}/in.jsonl").decode() == line


def test_inputs_with_defaults_may_be_left_out(formats: Formats, bucket: Bucket) -> None:
    rows: list[object] = [
        1.0,
        {"x": 2.0},
        {"x": 3.0, "factor": 2.0},
        {"factor": 2.0},
        {"x": 1, "y": 2},
    ]
    bucket.put("defaults/in.jsonl", jsonl(rows))
    bucket.put("defaults/bare.jsonl", "1\n2\n")
    bucket.put("defaults/in.csv", "x\n4\n")
    options = {"signature_name": "defaults", "on_error": "skip"}
    report_of(formats("defaults/", "defaults-out/", **options))
    assert lines(bucket.get("defaults-out/in.jsonl")) == [10.5, 20.5, 6.5]
    assert lines(bucket.get("defaults-out/bare.jsonl")) == [10.5, 20.5]
    assert lines(bucket.get("defaults-out/in.csv.jsonl")) == [40.5]
    errors = lines(bucket.get("defaults-out/in.jsonl.errors.jsonl"))
    assert [row["line"] for row in errors] == [4, 5]
    bucket.put("fixed-default/in.jsonl", jsonl([{"x": 1.0, "offset": 1.0}]))
    failed = error_of(formats("fixed-default/in.jsonl", "never/", signature_name="defaults"))
    assert "field offset: the signature has no such input" in failed["message"]


@pytest.mark.readme("signature choice")
def test_unfit_format_is_refused_before_rows(formats: Formats, bucket: Bucket) -> None:
    """A format that a signature cannot be given is told before any row."""
    bucket.put("unfit/a.jsonl", "[1,2,3,4]\n")
    bucket.put("unfit/b.tfrecord", b"")
    failed = error_of(formats("unfit/", "unfit-out/"))
    assert "b.tfrecord: tfrecord is read for signatures with one input" in failed["message"]
    assert "the inputs of serving_default are x: float32[?, 4]" in failed["message"]
    assert bucket.names("unfit-out/") == []
    bucket.put("unfit-table/c.csv", "y\n1\n")
    failed = error_of(formats("unfit-table/c.csv", "unfit-out/", signature_name="classify"))
    assert "no column is a feature that the model parses, which are x;" in failed["message"]
    failed = error_of(formats("unfit/a.jsonl", "unfit-out/", signature_name="absent"))
    assert "absent" in failed["message"]


@pytest.mark.parametrize(
    ("signature", "row", "words"),
    [
        ("ragged_output", "a", "output words is ragged string of any shape"),
        ("ragged_output", "a", ".to_tensor(); output_filter=n leaves it out"),
        ("sparse_output", [1, 2, 3], "output s is sparse float32[?, 3]: answers carry dense"),
        ("sparse_input", [1, 2, 3], "x, x_1 and x_2 are the parts of one sparse tensor"),
        ("ragged_input", {"x": 1, "x_1": 2}, "a SavedModel holds a ragged input as its values"),
    ],
)
def test_tensors_that_are_not_dense_are_refused(
    signature: str, row: object, words: str, formats: Formats, bucket: Bucket
) -> None:
    bucket.put("composite/in.jsonl", jsonl([row] * 4))
    model = f"{bucket.uri}/models/composite/"
    failed = error_of(
        formats("composite/in.jsonl", "never/", model=model, signature_name=signature)
    )
    assert words in failed["message"]


def test_a_ragged_output_can_be_left_out(formats: Formats, bucket: Bucket) -> None:
    bucket.put("ragged/in.jsonl", jsonl(["a b", "c"]))
    model = f"{bucket.uri}/models/composite/"
    options = {"signature_name": "ragged_output", "output_filter": "n"}
    report_of(formats("ragged/in.jsonl", "ragged-out/", model=model, **options))
    assert lines(bucket.get("ragged-out/in.jsonl")) == [3, 1]


def test_the_only_signature_is_called_by_default(formats: Formats, bucket: Bucket) -> None:
    bucket.put("renamed/in.jsonl", "1\n2\n")
    model = f"{bucket.uri}/models/renamed/"
    for state in ("PREDICTED", "REUSED"):
        report = report_of(formats("renamed/in.jsonl", "renamed-out/", model=model))
        assert report["signature_name"] == "score"
        assert report["files"][0]["state"] == state
    assert lines(bucket.get("renamed-out/in.jsonl")) == [2, 4]


def test_raw_rows_for_a_classifier_are_offered_other_signatures(
    formats: Formats, bucket: Bucket
) -> None:
    bucket.put("raw/in.jsonl", jsonl(["text"]))
    model = f"{bucket.uri}/models/estimator/"
    failed = error_of(formats("raw/in.jsonl", "never/", model=model))
    assert (
        "signature serving_default takes tf.Examples, and signature_name=predict or text takes rows"
        " as they are"
    ) in failed["message"]
