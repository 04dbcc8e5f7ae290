"""What is said of requests to storage that fail."""

import re
from collections.abc import Callable

import pytest
import requests
import urllib3

from app.concurrency.deadline import Deadline
from app.errors import JobError
from app.storage import Location
from app.storage.retrying import RetryPolicy, in_words

PLACE = Location("gs", "bucket", "name")
POOL = urllib3.HTTPConnectionPool("storage")
CONNECTION = urllib3.connection.HTTPConnection("storage")


def refused() -> requests.ConnectionError:
    words = "failed: [Errno 111] Connection refused"
    new = urllib3.exceptions.NewConnectionError(CONNECTION, words)
    new.__cause__ = ConnectionRefusedError(111, "Connection refused")
    error = requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/secret-url", new))
    error.__cause__ = new
    return error


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (refused, "no connection: Connection refused"),
        (lambda: requests.ReadTimeout("HTTPConnectionPool"), "storage was silent for too long"),
        (lambda: requests.ConnectTimeout("HTTPConnectionPool"), "no connection in time"),
        (lambda: requests.exceptions.ChunkedEncodingError(""), "the answer ended too early"),
        (lambda: urllib3.exceptions.ProtocolError("x"), "the connection broke off"),
        (lambda: ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (lambda: requests.exceptions.SSLError("bad"), "no TLS connection"),
        (lambda: requests.JSONDecodeError("a", "b", 0), "storage's answer is not JSON"),
    ],
)
def test_failures_are_told_in_words(make: Callable[[], BaseException], words: str) -> None:
    """Never by the name of an exception's class, and never with a URL."""
    told = in_words(make())
    assert words in told
    assert not re.search(r"[a-z](Error|Exception|Timeout)\b|secret", told)


def test_a_job_is_told_in_words_what_failed() -> None:
    def fail() -> None:
        raise refused()

    policy = RetryPolicy(Deadline.never(), retry_seconds=0.0)
    with pytest.raises(JobError, match="gs://bucket/name: no connection: Connection refused"):
        policy.call(PLACE, "storage.objects.get", fail)
