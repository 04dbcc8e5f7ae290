"""Requests found in the bytes of a connection, in whatever pieces these arrive."""

import itertools
import time
from unittest.mock import Mock

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import NoMoreData, ParseException
from hypothesis import given
from hypothesis import strategies as st

from app.http_server.body_end import LARGEST_BODY_BYTES
from app.http_server.connection import Connection, Stage
from app.http_server.refusals import Refused
from app.http_server.request_reader import RequestReader

ALL = (
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
    b"\r\nPOST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;name=value\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    b"GET /c HTTP/1.1\r\n\r\n"
)
REQUESTS = [
    ("GET", "/health", b""),
    ("POST", "/a", b"12345"),
    ("POST", "/b", b"abc0123456789"),
    ("GET", "/c", b""),
]
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def reader() -> RequestReader:
    return RequestReader(Config(), ("127.0.0.1", 1))


def requests_of(
    reader: RequestReader, pieces: list[bytes]
) -> list[tuple[str | None, str | None, bytes]]:
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next_request()) is not None:
            assert request.body is not None
            found.append((request.method, request.path, request.body.read()))
            reader.begin_next()
    return found


@given(cuts=st.sets(st.integers(1, len(ALL) - 1)))
def test_requests_are_alike_however_cut(cuts: set[int]) -> None:
    """Requests are the same however their bytes are cut."""
    reader = RequestReader(Config(), ("127.0.0.1", 1))
    edges = [0, *sorted(cuts), len(ALL)]
    pieces = [ALL[start:end] for start, end in itertools.pairwise(edges)]
    assert requests_of(reader, pieces) == REQUESTS
    assert not reader.begun
    assert reader.held_bytes == 0


def test_requests_are_alike_byte_by_byte(reader: RequestReader) -> None:
    """Requests are the same when every byte comes alone."""
    assert requests_of(reader, [bytes([byte]) for byte in ALL]) == REQUESTS


@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"GET /", CHUNKED, CHUNKED[:30]]))
def test_any_bytes_are_request_refusal_or_wait(data: bytes, start: bytes) -> None:
    """Any bytes are a request or refused or waited for."""
    reader = RequestReader(Config(), ("127.0.0.1", 1))
    try:
        reader.feed(start + data)
        reader.ended = True
        request = reader.next_request()
    except Refused:
        return
    if request is not None and request.body is not None:
        try:
            request.body.read()
        except (ParseException, NoMoreData) as error:
            assert str(error)  # noqa: PT017  # either is right, and neither may be silent


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (LARGEST_BODY_BYTES + 1), b""),
        (CHUNKED, b"%x\r\n" % (LARGEST_BODY_BYTES + 9) + b"a" * (LARGEST_BODY_BYTES + 1)),
    ],
)
def test_a_body_that_is_too_large_is_not_waited_for(
    start: bytes, rest: bytes, reader: RequestReader
) -> None:
    with pytest.raises(Refused, match="a body may have 1,048,576 bytes, it has ") as refused:
        requests_of(reader, [start, rest])
    assert refused.value.refusal.code == 413


def test_a_body_of_the_largest_size_is_waited_for(reader: RequestReader) -> None:
    reader.feed(CHUNKED + b"%x\r\n" % LARGEST_BODY_BYTES + b"a" * LARGEST_BODY_BYTES)
    assert reader.next_request() is None
    reader.feed(b"\r\n0\r\n\r\n")
    assert reader.next_request() is not None


def test_chunks_without_end_are_refused(reader: RequestReader) -> None:
    reader.feed(CHUNKED)
    assert reader.next_request() is None
    with pytest.raises(Refused) as refused:
        for _ in range(3 * LARGEST_BODY_BYTES // 8000):
            reader.feed(b"1;" + b"a" * 7990 + b"\r\n \r\n")
    assert refused.value.refusal.code == 413


def test_a_body_that_drips_is_due_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    connection = Connection(Mock(), Mock(), None, None)
    due = connection.deadline_for_rest(begins_body=True)
    connection.stage = Stage.READING
    while now < due:
        now += 5
        due = connection.deadline_for_rest(begins_body=False)
    assert now == 1060
