"""The storage emulator that STORAGE_EMULATOR_HOST names."""

import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from app.errors import InvalidArgument, StorageFailed, shortened

VARIABLE = "STORAGE_EMULATOR_HOST"
_CONNECT_SECONDS = 5.0


def emulator_url(environ: Mapping[str, str] = os.environ) -> str | None:
    """`http://host:port`, or None where there is no emulator. Raises InvalidArgument.

    The variable may leave out the scheme, and may end in a slash, as other clients allow.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.path or parts.query or parts.fragment:
        raise InvalidArgument(
            f"{VARIABLE} must be an address such as http://localhost:4443, it is"
            f" {shortened(text)!r}"
        )
    return url


def check_emulator(url: str) -> None:
    """Raise StorageFailed if nothing listens there. A wrong address is not worth a retry."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    assert parts.hostname is not None
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise StorageFailed(
            f"{VARIABLE} is {url}, and nothing answers there: {error.strerror or error}"
        ) from None
