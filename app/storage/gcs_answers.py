"""What answers of the JSON API mean, and which of them make no sense.

Source: cloud.google.com/storage/docs/json_api/v1/status-codes and
cloud.google.com/storage/docs/json_api/v1/objects.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import orjson
import requests
from google.api_core import exceptions as api_exceptions

from app.storage.backend import Loaded, StoredFile
from app.storage.location import Location
from app.storage.retrying import BadAnswer

_RECEIVED = re.compile(r"bytes=0-(?P<last>[0-9]{1,18})")
_CRC32C_BYTES = 4


def raise_for(response: requests.Response) -> None:
    """Raise the errors of Google's client, so that one retry policy fits all."""
    if not 200 <= response.status_code < 300:  # the range of success
        raise error_of(response)


def error_of(response: requests.Response) -> api_exceptions.GoogleAPICallError:
    error: api_exceptions.GoogleAPICallError = api_exceptions.from_http_status(  # type: ignore[no-untyped-call]  # carries no types
        response.status_code, _message(response), response=response
    )
    return error


def _message(response: requests.Response) -> str:
    try:
        return str(orjson.loads(response.content)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return ""  # a proxy's page, or nothing


def described(response: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises BadAnswer for anything else."""
    raise_for(response)
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise BadAnswer("storage's answer is not JSON") from None
    if not isinstance(body, dict):
        raise BadAnswer(f"expected a JSON object of storage, it is a {type(body).__name__}")
    return body


def stored_file(location: Location, resource: Mapping[str, Any]) -> StoredFile:
    """An object by its description. Raises BadAnswer where the description is not one."""
    try:
        size, generation = int(resource["size"]), int(resource["generation"])
        crc32c = base64.b64decode(resource["crc32c"], validate=True)
        metadata = dict(resource.get("metadata") or {})
    except (KeyError, TypeError, ValueError, binascii.Error):
        size, generation, crc32c, metadata = -1, -1, b"", {}
    if size < 0 or generation < 0 or len(crc32c) != _CRC32C_BYTES:
        raise BadAnswer("storage describes an object without its size, generation and crc32c")
    return StoredFile(
        location,
        size=size,
        generation=generation,
        crc32c=int.from_bytes(crc32c, "big"),
        content_encoding=str(resource.get("contentEncoding") or ""),
        metadata={str(name): str(value) for name, value in metadata.items()},
    )


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of a list. `next_token` asks for the next one, and is empty on the last."""

    files: list[StoredFile]
    folders: list[str]
    next_token: str


def listed_page(prefix: Location, body: Mapping[str, Any]) -> ListedPage:
    """Raises BadAnswer where the page is not what was asked for."""
    items, folders = body.get("items", []), body.get("prefixes", [])
    if not isinstance(items, list) or not isinstance(folders, list):
        raise BadAnswer("storage lists objects that are no list")
    files = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.startswith(prefix.path):
            raise BadAnswer("storage lists something that was not asked for")
        files.append(stored_file(Location("gs", prefix.bucket, name), item))
    return ListedPage(files, list(map(str, folders)), str(body.get("nextPageToken") or ""))


def loaded_object(location: Location, response: requests.Response) -> Loaded:
    """Raises BadAnswer where the answer is damaged, or does not say which generation it is.

    Source of the headers: cloud.google.com/storage/docs/xml-api/reference-headers
    """
    content = response.content
    generation = response.headers.get("X-Goog-Generation", "")
    if not (generation.isascii() and generation.isdigit()):
        raise BadAnswer("storage did not tell the object's generation")
    checksum: Any = google_crc32c.Checksum(content)  # type: ignore[no-untyped-call]  # carries no types
    hashes = response.headers.get("X-Goog-Hash", "")
    if "crc32c=" in hashes and base64.b64encode(checksum.digest()).decode() not in hashes:
        raise BadAnswer("what came does not have the object's checksum")
    return Loaded(StoredFile(location, len(content), generation=int(generation)), content)


def received_bytes(response: requests.Response) -> int:
    """The number of bytes persisted so far, which may be less than was sent."""
    match = _RECEIVED.fullmatch(response.headers.get("Range", ""))
    return int(match["last"]) + 1 if match else 0
