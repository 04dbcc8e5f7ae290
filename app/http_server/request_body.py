"""Reads request bodies, limited in size and decompressed."""

from collections.abc import Iterator

from flask import Request
from gunicorn.http.errors import ParseException

from app.errors import InvalidArgument, TooLarge, UnsupportedEncoding, UnsupportedInput
from app.framing.gzipped import decoded
from app.http_server.body_end import LARGEST_BODY_BYTES
from app.http_server.refusals import shortened

# The name of gzip, and its old alias: RFC 9110, section 8.4.1.3.
_GZIP = ("gzip", "x-gzip")
# RFC 1952, section 2.3.1.
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 4096


def body_of(request: Request) -> bytes:
    """Read the body. Raises InvalidArgument, TooLarge or UnsupportedEncoding."""
    codings = [coding.strip() for coding in request.headers.get("Content-Encoding", "").split(",")]
    codings = [coding for coding in codings if coding.lower() not in ("", "identity")]
    if len(codings) > 1 or not {coding.lower() for coding in codings} <= set(_GZIP):
        raise UnsupportedEncoding(
            "the body must be sent as it is, or with Content-Encoding: gzip,"
            f" its Content-Encoding is {shortened(', '.join(codings))}"
        )
    body = _received(request)
    if not codings and body.startswith(_GZIP_MAGIC):
        raise InvalidArgument("the body is gzipped; send it with Content-Encoding: gzip")
    return _unpacked(body) if codings and body else body


def _received(request: Request) -> bytes:
    length = request.content_length
    if length is not None and length > LARGEST_BODY_BYTES:
        raise _too_large(f"it has {length:,}")
    try:
        body: bytes = request.environ["wsgi.input"].read(LARGEST_BODY_BYTES + 1)
    except ParseException as error:
        raise InvalidArgument(f"the body cannot be read: {shortened(str(error))}") from None
    except OSError:
        raise InvalidArgument("the body cannot be read: it ends before its last chunk") from None
    if len(body) > LARGEST_BODY_BYTES:
        raise _too_large("it has more")
    if length is not None and len(body) < length:
        raise InvalidArgument(
            f"the body cannot be read: it ends after {len(body):,} of {length:,} bytes"
        )
    return body


def _unpacked(body: bytes) -> bytes:
    content = bytearray()
    try:
        for piece in decoded(_pieces(body), file="the body"):
            content += piece
            if len(content) > LARGEST_BODY_BYTES:
                raise _too_large("unpacked, it has more")
    except UnsupportedInput as error:
        raise InvalidArgument(error.message) from None
    return bytes(content)


def _pieces(body: bytes) -> Iterator[bytes]:
    # Use small pieces: the rest of a piece is copied for each gzip member.
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def _too_large(what: str) -> TooLarge:
    return TooLarge(f"a body may have {LARGEST_BODY_BYTES:,} bytes, {what}")
