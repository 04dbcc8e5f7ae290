"""What answers of the JSON API mean: cloud.google.com/storage/docs/json_api/v1/status-codes."""

import re
from typing import Any

import requests
from google.api_core import exceptions as api_exceptions

from app.storage.retrying import BadAnswer

_RECEIVED = re.compile(r"bytes=0-(?P<last>[0-9]+)")


def raise_for(response: requests.Response) -> None:
    """Raise the errors of Google's client, so that one retry policy fits both."""
    if not response.ok:
        raise error_of(response)


def error_of(response: requests.Response) -> api_exceptions.GoogleAPICallError:
    error: api_exceptions.GoogleAPICallError = api_exceptions.from_http_response(response)  # type: ignore[no-untyped-call]  # carries no types
    return error


def described_object(response: requests.Response) -> dict[str, Any]:
    """Raises BadAnswer or requests.JSONDecodeError."""
    resource = response.json()
    if not isinstance(resource, dict):
        raise BadAnswer("storage did not describe the new object")
    return resource


def received_bytes(response: requests.Response) -> int:
    """The number of bytes persisted so far, which may be less than was sent."""
    match = _RECEIVED.fullmatch(response.headers.get("Range", ""))
    return int(match["last"]) + 1 if match else 0
