"""Whatever a caller sends: an answer in JSON that says what was expected, and never a 500."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config.job_spec import OPTIONAL, REQUIRED
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService

NAMES = (*REQUIRED, *OPTIONAL)

VALUES: tuple[object, ...] = (
    0,
    -1,
    1.5,
    1e308,
    2**63,
    10**400,
    True,
    [],
    [[]],
    {},
    {"a": None},
    ["gs://test-bucket/x"],
    "\0",
    "gs://test-bucket/\0",
    "gs://test-bucket/a\nb",
    "gs://test-bucket/\x7f",
    "gs://",
    "gs:///",
    "gs://a",
    "gs://UPPER/x",
    "gs://test-bucket",
    "gs://test-bucket//",
    "gs://test-bucket/../../etc/passwd",
    "gs://test-bucket/%2e%2e/%00",
    "gs://test-bucket/?alt=media&x=1#y",
    "gs://test-bucket/hostile/**/*?",
    "gs://test-bucket/hostile/" + "**a*/" * 80,
    ["gs://test-bucket/hostile/x", 7],
    "gs://test-bucket/.",
    "gs://test-bucket/..",
    "gs://test-bucket/./",
    "gs://test-bucket/\ud7ff\uffff\U0010ffff",
    "gs://test-bucket/" + "a" * 2000,
    "gs://test-bucket/" + "a/" * 600,
    "gs://no-such-bucket-at-all/x",
    "gs://.../",
    "s3://bucket/x",
    "http://169.254.169.254/computeMetadata/v1/",
    "file://etc/passwd",
    "file:///etc/passwd",
    "file:///%00",
    "file://localhost/etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "../../../etc/passwd",
    "~/secret",
    "/" + "a" * 5000,
    ".",
    "/",
    "x" * 100_000,
    "nan",
    "inf",
    "-inf",
    "1e999",
    "٣",  # a digit of another script
    "9" * 5000,
    "skip\n",
    "FAIL",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "'; DROP TABLE jobs; --",
)


@pytest.fixture
def valid(bucket: Bucket) -> dict[str, Any]:
    """A call whose input is not there, so that it goes as far as a call can without a model."""
    return {
        "model": f"{bucket.uri}/models/linear/",
        "input": f"{bucket.uri}/hostile/absent.jsonl",
        "output": f"{bucket.uri}/hostile/out/",
    }


def check(answer: requests.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    body = answer.json()["error"]
    assert set(body) == {"code", "status", "message", "details"}
    assert body["code"] == answer.status_code
    assert body["message"]
    assert len(answer.text) < 10_000
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_of_any_value_is_answered(
    name: str, valid: dict[str, Any], service: RunningService
) -> None:
    for value in VALUES:
        answer = requests.post(service.url, json={**valid, name: value}, timeout=20)
        check(answer)
        if isinstance(value, str) and "\0" not in value:
            check(requests.get(service.url, params={**valid, name: value[:2000]}, timeout=20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=20), JSON, max_size=3))
def test_a_body_of_any_json_is_answered(
    changes: dict[str, Any], valid: dict[str, Any], service: RunningService
) -> None:
    body = json.dumps({**valid, **changes}).encode("utf-8", "surrogatepass")
    check(
        requests.post(
            service.url, data=body, headers={"Content-Type": "application/json"}, timeout=20
        )
    )


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=100), content_type=st.sampled_from(["application/json", "x/y", ""]))
def test_a_body_of_any_bytes_is_answered(
    body: bytes, content_type: str, service: RunningService
) -> None:
    check(requests.post(service.url, data=body, headers={"Content-Type": content_type}, timeout=20))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"model":' * 50_000,
        b'{"model": "' + b"\\u0000" * 1000 + b'"}',
        b'{"model": "\xff\xfe"}',
        b'{"model": "\\ud800"}',
        b'{"model": 1' + b"0" * 100_000 + b"}",
        b'{"model": "a", "model": "b"}',
        b"\xef\xbb\xbf{}",
        b"null",
        b'"gs://bucket/x"',
    ],
)
def test_a_monstrous_body_is_answered(body: bytes, service: RunningService) -> None:
    headers = {"Content-Type": "application/json"}
    check(requests.post(service.url, data=body, headers=headers, timeout=20))


@pytest.mark.parametrize(
    "query",
    [
        "model=%00&input=%ff%fe&output=%",
        "model=%C0%80&input=x&output=y",
        "=&=&=",
        "model[]=x",
        "model=a;input=b",
        "&".join(f"p{number}=x" for number in range(500)),
        "model=" + "a" * 3000,
        "on_error=skip&on_error=fail",
    ],
)
def test_a_query_of_any_form_is_answered(query: str, service: RunningService) -> None:
    check(requests.get(f"{service.url}/?{query}", timeout=20))


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 10_000),
        b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % (b"X: y\r\n" * 1000),
        b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_hardly_http_harms_nothing(request_text: bytes, service: RunningService) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(request_text)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(100)
        except (TimeoutError, ConnectionResetError):
            answer = b""
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert requests.get(f"{service.url}/health", timeout=5).json() == {
        "status": "ok",
        "busy": False,
    }
