"""Input files and outputs of every format, over HTTP."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from app.framing.tfrecord import frame
from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of

Formats = Callable[..., requests.Response]

ROWS: list[list[float]] = [[1.5, -2.0, 3.25, 0.1], [0, 1, 2, 3], [1e-3, 1e10, -1, 7]]


def report_of(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def error_of(response: requests.Response, code: int = 422) -> dict[str, Any]:
    assert response.status_code == code, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def jsonl(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table(rows: Iterable[Iterable[object]], header: str = "a,b,c,d") -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return f"{header}\r\n{text.getvalue()}".encode()


def example(row: list[float], **features: Any) -> bytes:
    from app.codec.tf_examples import example_of

    return example_of({"x": [float(value) for value in row], **features})


def lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.decode().splitlines()]


# One set of numbers, in every format


@pytest.mark.readme("CSV", "TFRecord", "gzip in and out", "JSON lines")
def test_5000_instances_predict_alike_in_every_format(formats: Formats, bucket: Bucket) -> None:
    """5000 instances have the same predictions in every format."""
    random = np.random.default_rng(5)
    rows = [[float(value) for value in row] for row in random.normal(size=(5000, 4))]
    records = [example(row) for row in rows]
    contents = {
        "r.jsonl": jsonl(rows),
        "r.csv": table(rows),
        "r.tfrecord": b"".join(map(frame, records)),
    }
    for name, content in contents.items():
        bucket.put(f"formats-5000/{name.replace('r.', 'plain.')}", content)
        bucket.put(f"formats-5000/{name}.gz", gzip.compress(content))
    outputs = {}
    for signature, inputs in (
        ("serving_default", ["formats-5000/*.jsonl*"]),
        ("columns", ["formats-5000/*.csv*"]),
        ("examples", ["formats-5000/*.tfrecord*"]),
    ):
        report = report_of(formats(inputs, "formats-5000-out/", signature_name=signature))
        assert (report["instances"], report["errors"], len(report["files"])) == (10_000, 0, 2)
        for file in report["files"]:
            name = file["output"].rpartition("/")[2]
            data = bucket.get(f"formats-5000-out/{name}", raw=True)
            outputs[name] = gzip.decompress(data) if name.endswith(".gz") else data
    assert sorted(outputs) == [
        "plain.csv.jsonl",
        "plain.jsonl",
        "plain.tfrecord.jsonl",
        "r.csv.jsonl.gz",
        "r.jsonl.gz",
        "r.tfrecord.jsonl.gz",
    ]
    assert len(set(outputs.values())) == 1
    first = json.loads(outputs["plain.jsonl"].splitlines()[0])
    expected = np.array(rows[0], np.float32) * np.float32(2) + np.float32(1)
    np.testing.assert_allclose(first["scores"], expected, rtol=1e-6)


def test_columns_in_order_are_a_vector(formats: Formats, bucket: Bucket) -> None:
    bucket.put("vector/in.csv", table(ROWS))
    bucket.put("vector/in.jsonl", jsonl(ROWS))
    report_of(formats("vector/*", "vector-out/"))
    assert bucket.get("vector-out/in.csv.jsonl") == bucket.get("vector-out/in.jsonl")


# CSV


@pytest.mark.readme("a bad row")
def test_table_has_quotes_line_ends_and_row_numbers(formats: Formats, bucket: Bucket) -> None:
    """A table has quotes line ends in cells and bad rows by number."""
    content = (
        "name,count,sold,price\r\n"
        '"a ""b"", c",1,true,1.5\r\n'
        '"two\r\nlines",-2,FALSE,.5\r\n'
        ",3,True, 1e3 \r\n"
        "x,,true,1\r\n"  # an empty cell that is no string
        "x,1.0,true,1\r\n"
        "x,1,yes,1\r\n"
        'x,1,"true",nan\r\n'
        "x,1,true\r\n"
        'x"y,1,true,1\r\n'
        "last,9223372036854775807,true,-inf"
    )
    bucket.put("table/in.csv", content)
    options = {"signature_name": "typed", "on_error": "skip"}
    report = report_of(formats("table/in.csv", "table-out/", **options))
    assert (report["instances"], report["predictions"], report["errors"]) == (10, 5, 5)
    assert [
        (row["name"], row["count"], row["sold"], row["price"])
        for row in lines(bucket.get("table-out/in.csv.jsonl"))
    ] == [
        ('a "b", c', 1, True, 1.5),
        ("two\r\nlines", -2, False, 0.5),
        ("", 3, True, 1000.0),
        ("x", 1, True, "NaN"),
        ("last", 2**63 - 1, True, "-Infinity"),
    ]
    errors = lines(bucket.get("table-out/in.csv.jsonl.errors.jsonl"))
    assert [row["row"] for row in errors] == [4, 5, 6, 8, 9]
    messages = [row["error"]["message"] for row in errors]
    assert messages[0] == "field count: empty, expected an integer (int64)"
    assert messages[1] == "field count: expected an integer (int64), found 1.0"
    assert messages[2] == 'field sold: expected true or false, found "yes"'
    assert messages[3] == "expected 4 cells, as in the header, found 3"
    assert "a quote in the wrong place" in messages[4]
    assert errors[0]["instance"] == {"name": "x", "count": "", "sold": True, "price": 1}
    failed = error_of(formats("table/in.csv", "table-out2/", signature_name="typed"))
    assert "in.csv, row 4, field count: empty, expected an integer" in failed["message"]
    assert (details_of(failed)["row"], details_of(failed)["field"]) == (4, "count")
    assert bucket.names("table-out2/") == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,b,c", "no column for the input d"),
        ("a,b,c,d,e", "the signature has no input e, only a, b, c, d; excluded_fields keeps"),
        ("a,b,c,a", "two columns have the same name: a"),
        ('a,b,"c', "the header is no row of a table"),
    ],
)
def test_unfit_header_is_refused_before_rows(
    header: str, words: str, formats: Formats, bucket: Bucket
) -> None:
    """A header that does not fit is told before any row."""
    bucket.put("header/in.csv", header + "\n1,2,3,4\n")
    options = {"signature_name": "columns", "on_error": "skip", "force": True}
    assert words in error_of(formats("header/in.csv", "header-out/", **options))["message"]
    assert bucket.names("header-out/") == []


# TFRecord


@pytest.mark.readme("TFRecord")
def test_tfrecords_interchange_with_tensorflow(
    formats: Formats, bucket: Bucket, tmp_path: Path
) -> None:
    """Files that TensorFlow writes are read and it would read ours."""
    import tensorflow as tf

    records = []
    for row in ROWS:
        features = {"x": tf.train.Feature(float_list=tf.train.FloatList(value=row))}
        message = tf.train.Example(features=tf.train.Features(feature=features))
        records.append(message.SerializeToString())
    for options in (None, tf.io.TFRecordOptions("GZIP")):
        with tf.io.TFRecordWriter(str(tmp_path / "t"), options) as writer:
            for record in records:
                writer.write(record)
        suffix = "" if options is None else ".gz"
        bucket.put(f"theirs/in.tfrecord{suffix}", (tmp_path / "t").read_bytes())
    bucket.put("theirs/in.jsonl", jsonl(ROWS))
    report_of(formats("theirs/in.tfrecord*", "theirs-out/", signature_name="examples"))
    report_of(formats("theirs/in.jsonl", "theirs-out/"))
    expected = bucket.get("theirs-out/in.jsonl")
    assert bucket.get("theirs-out/in.tfrecord.jsonl") == expected
    zipped = bucket.get("theirs-out/in.tfrecord.jsonl.gz", raw=True)
    assert gzip.decompress(zipped) == expected
    (tmp_path / "ours").write_bytes(b"".join(map(frame, [*records, b""])))
    read = [one.numpy() for one in tf.data.TFRecordDataset(str(tmp_path / "ours"))]
    assert read == [*records, b""]
    assert tf.train.Example.FromString(example(ROWS[0])) == tf.train.Example.FromString(records[0])


def test_damaged_record_is_bad_lost_frame_ends(formats: Formats, bucket: Bucket) -> None:
    """A damaged record is a bad row and a lost frame is the end."""
    frames = [frame(example(row)) for row in ROWS]
    damaged = bytearray(frames[1])
    damaged[20] ^= 1
    options = {"signature_name": "examples", "on_error": "skip"}
    bucket.put("damaged/in.tfrecord", frames[0] + bytes(damaged) + frames[2])
    report = report_of(formats("damaged/in.tfrecord", "damaged-out/", **options))
    assert (report["predictions"], report["errors"]) == (2, 1)
    (error,) = lines(bucket.get("damaged-out/in.tfrecord.jsonl.errors.jsonl"))
    assert error["record"] == 2
    assert "does not match its checksum" in error["error"]["message"]
    lost = bytearray(frames[1])
    lost[0] ^= 1
    bucket.put("lost/in.tfrecord", frames[0] + bytes(lost) + frames[2])
    failed = error_of(formats("lost/in.tfrecord", "lost-out/", **options))
    assert f"record 2, at byte {len(frames[0])} of the content" in failed["message"]
    bucket.put("cut/in.tfrecord.gz", gzip.compress(frames[0] + frames[1][:-1]))
    failed = error_of(formats("cut/in.tfrecord.gz", "lost-out/", **options))
    assert "record 2" in failed["message"]
    assert "the file ends within it" in failed["message"]
    assert bucket.names("lost-out/") == []


# Text and lists


@pytest.mark.readme("text lines")
def test_lines_of_text_are_strings_and_empty_ones_too(formats: Formats, bucket: Bucket) -> None:
    bucket.put("text-lines/in.txt", b"hello\r\n\nsnow \xe2\x98\x83")
    options = {"signature_name": "lengths", "include_instance": True}
    report_of(formats("text-lines/in.txt", "text-lines-out/", **options))
    assert [
        (row["instance"], row["prediction"]["size"])
        for row in lines(bucket.get("text-lines-out/in.txt.jsonl"))
    ] == [("hello", 5), ("", 0), ("snow ☃", 8)]
    failed = error_of(formats("text-lines/in.txt", "text-lines-out2/"))
    assert "text is read for signatures with one input of strings" in failed["message"]


@pytest.mark.readme("file lists")
def test_file_list_names_objects(formats: Formats, bucket: Bucket) -> None:
    """A file list names the objects that are the instances."""
    names = [f"photos/{number}.png" for number in range(40)]
    for number, name in enumerate(names):
        bucket.put(name, b"%02d" % number + b"\xff" * number)
    uris = [f"{bucket.uri}/{name}" for name in names]
    content = "\n".join([*uris[:2], "", f"{bucket.uri}/photos/absent.png", "nonsense", *uris[2:]])
    bucket.put("lists/all.txt", content)
    options = {
        "signature_name": "lengths",
        "input_format": "file-list",
        "on_error": "skip",
        "include_instance": True,
    }
    report = report_of(formats("lists/all.txt", "lists-out/", **options))
    assert (report["predictions"], report["errors"]) == (40, 2)
    rows = lines(bucket.get("lists-out/all.txt.jsonl"))
    assert [row["instance"] for row in rows] == uris
    assert [row["prediction"]["size"] for row in rows] == [2 + n for n in range(40)]
    assert [row["prediction"]["head"] for row in rows] == [f"{n:02d}" for n in range(40)]
    errors = lines(bucket.get("lists-out/all.txt.jsonl.errors.jsonl"))
    assert [(row["line"], row["error"]["code"]) for row in errors] == [(4, 404), (5, 400)]
    assert errors[0]["instance"].endswith("photos/absent.png")
    (file,) = report_of(formats("lists/all.txt", "lists-out/", **options))["files"]
    assert file["state"] == "REUSED"
    bucket.put(names[7], b"changed")
    (file,) = report_of(formats("lists/all.txt", "lists-out/", **options))["files"]
    assert file["state"] == "PREDICTED", "what a list names has changed, and the list has not"


# Gzip


@pytest.mark.readme("gzip in and out")
def test_gzip_is_detected_and_declared(formats: Formats, bucket: Bucket) -> None:
    """Gzip is told by content and outputs say what they are."""
    members = b"".join(gzip.compress(jsonl([row])) for row in ROWS) + b"\0" * 100
    bucket.put("zipped/members.jsonl.gz", members)
    bucket.put("zipped/hidden.jsonl", gzip.compress(jsonl(ROWS)))
    bucket.put("zipped/encoded.jsonl", gzip.compress(jsonl(ROWS)), content_encoding="gzip")
    bucket.put("zipped/plain.jsonl.gz", jsonl(ROWS))
    report_of(formats("zipped/", "zipped-out/"))
    plain = bucket.get("zipped-out/hidden.jsonl", raw=True)
    assert len(lines(plain)) == len(ROWS)
    for name in ("members.jsonl.gz", "encoded.jsonl", "plain.jsonl.gz"):
        assert gzip.decompress(bucket.get(f"zipped-out/{name}", raw=True)) == plain
        assert bucket.content_of(f"zipped-out/{name}") == ("text/plain; charset=utf-8", "gzip")
        # As a browser and `gcloud storage cat` get it.
        assert bucket.get(f"zipped-out/{name}") == plain
    assert bucket.content_of("zipped-out/hidden.jsonl") == ("text/plain; charset=utf-8", None)
    report_of(formats("zipped/hidden.jsonl", "packed/", output_compression="gzip"))
    report_of(formats("zipped/members.jsonl.gz", "packed/", output_compression="none"))
    assert bucket.names("packed/") == ["packed/hidden.jsonl.gz", "packed/members.jsonl"]
    assert gzip.decompress(bucket.get("packed/hidden.jsonl.gz", raw=True)) == plain
    assert bucket.get("packed/members.jsonl", raw=True) == plain


def test_damaged_gzip_ends_the_job_and_nothing_appears(formats: Formats, bucket: Bucket) -> None:
    bucket.put("bad-gzip/in.jsonl.gz", gzip.compress(jsonl(ROWS * 40))[:-5])
    failed = error_of(formats("bad-gzip/in.jsonl.gz", "bad-gzip-out/", on_error="skip"))
    assert "gzipped, and it ends too early" in failed["message"]
    assert bucket.names("bad-gzip-out/") == []


# Tables out


@pytest.mark.readme("output formats")
def test_predictions_become_a_table(formats: Formats, bucket: Bucket) -> None:
    bucket.put("flat/in.csv", table(ROWS))
    bucket.put("flat/more.jsonl.gz", gzip.compress(jsonl(ROWS)))
    report_of(formats(["flat/in.csv", "flat/more*"], "flat-out/", output_format="csv"))
    text = bucket.get("flat-out/in.csv").decode()
    assert text.startswith("scores_0,scores_1,scores_2,scores_3,total\n4.0,-3.0,7.5,1.2,")
    assert bucket.content_of("flat-out/in.csv") == ("text/plain; charset=utf-8", None)
    zipped = bucket.get("flat-out/more.jsonl.csv.gz", raw=True)
    assert gzip.decompress(zipped).decode() == text


def test_table_quotes_and_keeps_input_columns(formats: Formats, bucket: Bucket) -> None:
    """A table quotes what must be and carries the columns of the input."""
    row = {"name": 'a "b",\nc', "count": 7, "sold": False, "price": None}
    rows = [{**row, "price": 1.5}, {**row, "name": "", "price": 2.0}]
    bucket.put("quoted/in.jsonl", jsonl([{**one, "id": {"a": [1]}} for one in rows]))
    options: dict[str, Any] = {"signature_name": "typed", "output_format": "csv"}
    options["key_field"] = "id"
    report_of(formats("quoted/in.jsonl", "quoted-out/", **options))
    text = bucket.get("quoted-out/in.jsonl.csv").decode()
    header, *cells = csv.reader(io.StringIO(text, newline=""))
    assert header == ["key", "count", "name", "price", "raw_bytes", "sold"]
    assert cells[0] == ['{"a": [1]}', "7", 'a "b",\nc', "1.5", "YSAiYiIsCmM=", "false"]
    assert cells[1] == ['{"a": [1]}', "7", "", "2.0", "", "false"]
    bucket.put("joined/in.csv", 'id,a,b,c,d\n007,1,2,3,4\n"x,y",1,2,3,4\n')
    options = {"output_format": "csv", "include_instance": True, "excluded_fields": ["id"]}
    report_of(formats("joined/in.csv", "joined-out/", **options))
    header, *cells = csv.reader(io.StringIO(bucket.get("joined-out/in.csv").decode()))
    assert header == [
        "id",
        "a",
        "b",
        "c",
        "d",
        "scores_0",
        "scores_1",
        "scores_2",
        "scores_3",
        "total",
    ]
    assert [row[:5] for row in cells] == [["007", "1", "2", "3", "4"], ["x,y", "1", "2", "3", "4"]]


def test_outputs_without_a_flat_form_and_empty_inputs(formats: Formats, bucket: Bucket) -> None:
    bucket.put("shapes/in.jsonl", "[1, 2]\n")
    failed = error_of(
        formats(
            "shapes/in.jsonl",
            "shapes-out/",
            model=f"{bucket.uri}/models/zoo/",
            signature_name="matrix",
            output_format="csv",
        ),
        400,
    )
    assert "output y is float32[?, 2, 3], which has no flat form" in failed["message"]
    bucket.put("nothing/in.csv", "a,b,c,d\n")
    bucket.put("nothing/in.jsonl", "")
    report_of(formats("nothing/", "nothing-out/", output_format="csv"))
    header = b"scores_0,scores_1,scores_2,scores_3,total\n"
    assert bucket.get("nothing-out/in.csv") == bucket.get("nothing-out/in.jsonl.csv") == header


@pytest.mark.parametrize("name", ["part-r-00000", "rows.jsonl", "rows.csv", "rows.txt", "x.dat.gz"])
def test_tfrecord_is_known_by_its_content(name: str, formats: Formats, bucket: Bucket) -> None:
    """Whatever a file is called, unless a call says how to read it."""
    records = [example([1, 2, 3, number]) for number in range(3)]
    content = b"".join(map(frame, records))
    bucket.put(f"by-content/{name}", gzip.compress(content) if name.endswith(".gz") else content)
    report = report_of(
        formats(f"by-content/{name}", f"by-content-out/{name}/", signature_name="examples")
    )
    assert report["predictions"] == 3
    failed = error_of(
        formats(
            f"by-content/{name}",
            f"by-content-never/{name}/",
            signature_name="serving_default",
            input_format="jsonl",
        )
    )
    assert "line 1" in failed["message"]
