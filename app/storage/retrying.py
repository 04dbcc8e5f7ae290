"""Retries of storage requests, and the translation of their errors.

Source of what is retryable: cloud.google.com/storage/docs/retry-strategy
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import requests
import urllib3
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from app.concurrency.deadline import Deadline
from app.errors import NotFound, PermissionDenied, StorageFailed, shortened
from app.storage.location import Location

_CONNECT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 8.0
_SHOWN_CHARACTERS = 200
# 409 and 499 come in odd moments: of changes at the same time, and of a request that storage counts
# as broken off. Other server errors are not retryable.
_PASSING_CODES = (408, 409, 429, 499, 500, 502, 503, 504)

T = TypeVar("T")

logger = logging.getLogger(__name__)


class BadAnswer(Exception):
    """A response that reports success but has the wrong content."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long storage requests are retried; durations are in seconds.

    deadline        the job's own deadline
    retry_seconds   retries end after this long without progress
    silence_seconds the longest pause within a response
    """

    deadline: Deadline
    retry_seconds: float = 120.0
    silence_seconds: float = 30.0

    @property
    def timeout(self) -> tuple[float, float]:
        """The connect and read timeouts for `requests`."""
        left = self.deadline.remaining()
        return min(_CONNECT_SECONDS, left), min(self.silence_seconds, left)

    def call(self, location: Location, permission: str, request: Callable[[], T]) -> T:
        """Call `request` with retries; return its result. Raises as `errors_of` does."""
        retrying = Retrying(
            retry=retry_if_exception(is_passing),
            wait=wait_random_exponential(_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
            stop=stop_after_delay(self.retry_seconds),
            sleep=self.deadline.pause,
            before_sleep=lambda state: _log(location, state),
            reraise=True,
        )
        with errors_of(location, permission):
            return retrying(request)


def is_passing(error: BaseException) -> bool:
    """Whether another attempt may help."""
    if isinstance(error, api_exceptions.GoogleAPICallError):
        return error.code in _PASSING_CODES
    if isinstance(error, requests.exceptions.InvalidURL):
        return False
    return isinstance(
        error,
        requests.RequestException
        | urllib3.exceptions.HTTPError
        | auth_exceptions.TransportError
        | BadAnswer
        | ConnectionError,
    )


@contextmanager
def errors_of(location: Location, permission: str) -> Iterator[None]:
    """Translate errors of storage requests into job errors.

    Messages contain no URLs, because an upload's URL is a credential.
    """
    try:
        yield
    except api_exceptions.NotFound:
        raise NotFound(f"{location}: no such object or bucket") from None
    except (api_exceptions.Forbidden, api_exceptions.Unauthorized):
        raise PermissionDenied(
            f"{location}: permission denied; this service's account needs {permission}"
        ) from None
    except auth_exceptions.TransportError:
        raise StorageFailed(f"{location}: no access token could be had") from None
    except auth_exceptions.GoogleAuthError as error:
        raise PermissionDenied(
            f"{location}: the credentials cannot be used: {shortened(_text_of(error), 200)}; this"
            f" service's account needs {permission}"
        ) from None
    except (
        api_exceptions.GoogleAPICallError,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        BadAnswer,
        ConnectionError,
    ) as error:
        raise StorageFailed(f"{location}: {in_words(error)}") from None


def in_words(error: BaseException) -> str:
    """Describe an error without URLs."""
    if isinstance(error, BadAnswer):
        return str(error)
    if isinstance(error, api_exceptions.GoogleAPICallError):
        words = (error.message or "").strip()[:_SHOWN_CHARACTERS]
        return f"storage answered {error.code}" + (f": {words}" if words else "")
    chain = list(_chain(error))
    words = next((words for kinds, words in _WORDS if isinstance(error, kinds)), None)
    if words is None:
        words = next(
            (words for kinds, words in _WORDS for link in chain if isinstance(link, kinds)),
            "the connection broke off",
        )
    reason = next(
        (link.strerror for link in reversed(chain) if isinstance(link, OSError) and link.strerror),
        None,
    )
    return words if reason is None else f"{words}: {reason}"


_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((requests.JSONDecodeError,), "storage's answer is not JSON"),
    # The order matters: in urllib3, NewConnectionError is a subclass of a timeout.
    ((urllib3.exceptions.NameResolutionError,), "the host's name is not known"),
    ((urllib3.exceptions.NewConnectionError, ConnectionRefusedError), "no connection"),
    ((requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError), "no connection in time"),
    (
        (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError),
        "storage was silent for too long",
    ),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), "no TLS connection"),
    ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), "no connection to the proxy"),
    (
        (urllib3.exceptions.IncompleteRead, requests.exceptions.ChunkedEncodingError),
        "the answer ended too early",
    ),
    ((urllib3.exceptions.DecodeError,), "the answer's encoding is damaged"),
    ((requests.exceptions.InvalidURL,), "the address of storage is not valid"),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the innermost last."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _text_of(error: BaseException) -> str:
    """The message of a Google error, whose arguments may have any type."""
    return str(error.args[0]) if error.args else "no reason is given"


def _log(location: Location, state: RetryCallState) -> None:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    logger.warning("%s: %s; attempt %d", location, in_words(error), state.attempt_number)
