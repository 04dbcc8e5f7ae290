"""Bodies of requests: gzipped ones, and what is said of those that are not taken."""

import gzip
import json
import zlib
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.fakes.processes import RunningService

LARGEST = 1024 * 1024
# Without the time, which would be in the names of the tests.
packed = partial(gzip.compress, mtime=0)


def post(service: RunningService, body: bytes, coding: str, path: str = "/") -> requests.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    return requests.post(service.url + path, data=body, headers=headers, timeout=10)


def error(response: requests.Response, code: int) -> dict[str, Any]:
    body: dict[str, Any] = response.json()["error"]
    assert (response.status_code, body["code"]) == (code, code), response.text
    return body


def padded(size: int) -> bytes:
    return json.dumps({"model": "gs://bkt/m"}).encode().ljust(size)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip", "gzip ,"])
def test_a_gzipped_body_is_unpacked(coding: str, service: RunningService) -> None:
    for body in (packed(padded(0)), packed(padded(LARGEST))):
        told = error(post(service, body, coding), 400)
        assert told["message"] == "missing parameter: input, output"


def test_unnamed_gzip_is_named(service: RunningService) -> None:
    told = error(post(service, packed(padded(0)), "identity"), 400)
    assert "send it with Content-Encoding: gzip" in told["message"]


def test_a_gzipped_body_may_have_several_members(service: RunningService) -> None:
    content = padded(3000)
    body = b"".join(packed(content[at : at + 100]) for at in range(0, 3000, 100))
    told = error(post(service, body + b"\0" * 512, "gzip"), 400)
    assert told["message"] == "missing parameter: input, output"


def test_a_gzipped_request_of_vertex_ai_is_unpacked(service: RunningService) -> None:
    body = packed(b'{"displayName": "nightly"}')
    told = error(post(service, body, "gzip", "/v1/batchPredictionJobs"), 400)
    assert "unmanagedContainerModel" in told["message"]


@pytest.mark.parametrize(
    "body",
    [
        packed(padded(LARGEST + 1)),
        packed(b" " * 300_000_000),
        packed(b" " * LARGEST) * 900,
    ],
)
def test_too_large_unpacked_body_is_413(body: bytes, service: RunningService) -> None:
    """What unpacks to more than a body may have is 413."""
    told = error(post(service, body, "gzip"), 413)
    assert told["message"] == "a body may have 1,048,576 bytes, unpacked, it has more"
    assert told["status"] == "OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (padded(0), "the body: damaged gzip"),
        (zlib.compress(padded(0)), "the body: damaged gzip"),
        (packed(padded(0))[:-1], "the body: gzipped, and it ends too early"),
        (packed(padded(0))[:-8] + b"\0" * 8, "the body: damaged gzip"),
        (packed(padded(0)) + b"more", "the body: "),
        (packed(b"")[:5], "the body: gzipped, and it ends too early"),
    ],
)
def test_damaged_gzip_is_400_that_says_so(body: bytes, words: str, service: RunningService) -> None:
    told = error(post(service, body, "gzip"), 400)
    assert told["message"].startswith(words)
    assert told["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "gzip, br", "x" * 5000]
)
def test_any_other_content_encoding_is_415_by_name(coding: str, service: RunningService) -> None:
    told = error(post(service, b"{}", coding), 415)
    assert told["message"].startswith("the body must be sent as it is, or with Content-Encoding: ")
    assert f"is {coding[:200]}" in told["message"]
    assert len(told["message"]) < 400


def test_health_answers_with_a_closing_slash(service: RunningService) -> None:
    for path in ("/health", "/health/"):
        answer = requests.get(service.url + path, timeout=5)
        assert answer.json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "/nowhere", 404, "there is no /nowhere here; there are GET /health, GET and POST"),
        ("POST", "/v1//batchPredictionJobs", 404, "there is no /v1//batchPredictionJobs here"),
        ("GET", "/" + "a" * 3000, 404, "... (3,001 characters) here"),
        ("DELETE", "/", 405, "/ takes GET and POST, the method is DELETE"),
        ("POST", "/health", 405, "/health takes GET, the method is POST"),
        ("PUT", "/v1/batchPredictionJobs", 405, "takes GET and POST, the method is PUT"),
        ("PUT", "/jobs/a", 405, "/jobs/a takes DELETE and GET, the method is PUT"),
        ("GET", "/jobs/a/b", 404, "there is no /jobs/a/b here"),
    ],
)
def test_an_unknown_path_or_method_is_told_in_words(
    method: str, path: str, code: int, words: str, service: RunningService
) -> None:
    with closing(HTTPConnection(urlsplit(service.url).netloc, timeout=10)) as connection:
        connection.request(method, path)  # the library requests would tidy the path
        answer = connection.getresponse()
        told = json.loads(answer.read())["error"]
    assert (answer.status, told["code"]) == (code, code)
    assert words in told["message"]


def test_a_body_that_is_too_large_is_told_in_words(service: RunningService) -> None:
    headers = {"Content-Type": "application/json"}
    body = b" " * (LARGEST + 1)
    answer = requests.post(service.url, data=body, headers=headers, timeout=10)
    assert error(answer, 413)["message"] == "a body may have 1,048,576 bytes, it has 1,048,577"
    answer = requests.post(service.url, data=iter([body]), headers=headers, timeout=10)
    assert error(answer, 413)["message"] == "a body may have 1,048,576 bytes, it has more"
    whole = iter([padded(LARGEST)])
    answer = requests.post(service.url, data=whole, headers=headers, timeout=10)
    assert error(answer, 400)["message"] == "missing parameter: input, output"
