"""input_format=file: every object is an instance, and its URI the key of its prediction."""

import base64
import gzip
from typing import Any

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.integration.test_formats import Formats, error_of, lines, report_of

# Bytes of images, as far as anybody looks at them.
FILES = {f"{name}.jpg": b"\xff\xd8\xff" + name.encode() * 5 for name in ("a", "b", "c/d", " e ")}


def call(formats: Formats, bucket: Bucket, source: Any, **changes: object) -> requests.Response:
    parameters = {
        "model": f"{bucket.uri}/models/zoo/",
        "signature_name": "only_bytes",
        "input_format": "file",
        **changes,
    }
    return formats(source, "files-out/", **parameters)


@pytest.fixture(autouse=True)
def images(bucket: Bucket) -> None:
    for name in bucket.names("files-out/"):
        bucket.delete(name)
    for name, content in FILES.items():
        bucket.put(f"images/{name}", content)


def rows_of(bucket: Bucket, name: str = "files-out/predictions.jsonl") -> dict[str, bytes]:
    found = lines(bucket.get(name))
    prefix = f"{bucket.uri}/images/"
    return {
        row["key"].removeprefix(prefix): base64.b64decode(row["prediction"]["b64"]) for row in found
    }


def test_a_folder_of_images_is_one_call(formats: Formats, bucket: Bucket) -> None:
    for state in ("PREDICTED", "REUSED"):
        (file,) = report_of(call(formats, bucket, "images/"))["files"]
        assert (file["state"], file["predictions"]) == (state, len(FILES))
        assert file["output"] == f"{bucket.uri}/files-out/predictions.jsonl"
    assert rows_of(bucket) == FILES
    # One more file is another input.
    bucket.put("images/z.jpg", b"z")
    try:
        (file,) = report_of(call(formats, bucket, "images/"))["files"]
        assert (file["state"], file["predictions"]) == ("PREDICTED", len(FILES) + 1)
    finally:
        bucket.delete("images/z.jpg")


def test_several_inputs_become_one_output(formats: Formats, bucket: Bucket) -> None:
    sources = ["images/?.jpg", "images/c/"]
    options = {"batch_size": 1, "output_compression": "gzip"}
    report_of(call(formats, bucket, sources, **options))
    packed = bucket.get("files-out/predictions.jsonl.gz", raw=True)
    keys = [row["key"].rpartition("images/")[2] for row in lines(gzip.decompress(packed))]
    assert keys == ["a.jpg", "b.jpg", "c/d.jpg"]


def test_outputs_beside_the_files_are_no_instances(formats: Formats, bucket: Bucket) -> None:
    model = f"{bucket.uri}/models/zoo/"
    for name in ("a.jpg", "b.jpg"):
        bucket.put(f"beside/{name}", FILES[name])
    for _ in range(2):
        report = report_of(
            formats(
                "beside/",
                "beside/",
                model=model,
                signature_name="only_bytes",
                input_format="file",
                force=True,
            )
        )
        assert report["predictions"] == 2


def test_a_file_that_is_too_large_is_a_bad_row(formats: Formats, bucket: Bucket) -> None:
    bucket.put("images/large.jpg", bytes(17 * 1024 * 1024))
    try:
        report = report_of(call(formats, bucket, "images/", on_error="skip"))
    finally:
        bucket.delete("images/large.jpg")
    assert (report["predictions"], report["errors"]) == (len(FILES), 1)
    (error,) = lines(bucket.get("files-out/predictions.jsonl.errors.jsonl"))
    uri = f"{bucket.uri}/images/large.jpg"
    assert (error["file"], error["key"], error["instance"]) == (len(FILES) + 1, uri, uri)
    assert "MAX_LINE_BYTES takes larger objects" in error["error"]["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key_field": "id"}, "the key is the file's URI, so there is no key_field"),
        ({"excluded_fields": "id"}, "there are no fields to choose"),
        ({"signature_name": "named"}, "file is read for signatures with one input of strings"),
    ],
)
def test_what_files_do_not_have_is_refused(
    options: dict[str, object], words: str, formats: Formats, bucket: Bucket
) -> None:
    assert words in error_of(call(formats, bucket, "images/", **options))["message"]
