"""Collects the bytes of a connection until a request is complete: its header and its body.

Gunicorn's parser blocks while it reads. Here it gets only bytes that have arrived, so it never
blocks. Source: RFC 9112.
"""

import re
from typing import Any

from gunicorn.config import Config
from gunicorn.http.errors import (
    InvalidRequestLine,
    LimitRequestHeaders,
    NoMoreData,
    ParseException,
)
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import Unreader

from app.http_server.body_end import ChunkedBodyEnd, LengthBodyEnd, body_end
from app.http_server.refusals import Refusal, Refused, refusal_of

_LARGEST_HEADER_BYTES = 64 * 1024
_HEADER_END = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
# The first byte of a method, or of an empty line before it.
_FIRST_BYTES = frozenset(
    b"\r!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_PIECE_BYTES = 8192


class RequestReader:
    """Splits the bytes of one connection into requests.

    `ended` is True after the last byte. `expects_continue` is True while the client waits for a 100
    response before it sends the body.
    """

    def __init__(self, cfg: Config, client: Any) -> None:
        self.ended = False
        self.expects_continue = False
        self._arrived = _Arrived()
        self._parser = RequestParser(cfg, (), client)
        self._parser.unreader = self._arrived
        self._header = bytearray()
        self._searched = 0
        self._request: Request | None = None
        self._body: LengthBodyEnd | ChunkedBodyEnd = LengthBodyEnd(0)

    @property
    def begun(self) -> bool:
        """Whether part of a request has arrived."""
        return self.in_body or bool(self._header)

    @property
    def in_body(self) -> bool:
        """Whether the header of the current request has arrived."""
        return self._request is not None

    @property
    def held_bytes(self) -> int:
        return len(self._header) + self._arrived.held_bytes

    def feed(self, data: bytes) -> None:
        if self._request is None:
            self._header += data
        else:
            self._arrived.feed(data)
            self._body.feed(data)

    def next_request(self) -> Request | None:
        """The next complete request, or None. Raises Refused for an invalid one.

        A request with a truncated body is returned as it is, and the connection closes after its
        answer.
        """
        if self._request is None:
            self._request = self._parsed_header()
        if self._request is None or not (self._body.whole or self.ended):
            return None
        request, self._request = self._request, None
        if not self._body.whole:
            request.force_close()
        return request

    def begin_next(self) -> None:
        """Go on to the next request, after the last one was answered and its body read."""
        self._header += self._arrived.take()
        self._searched = 0

    def _parsed_header(self) -> Request | None:
        try:
            if not self._header_is_there():
                return None
            self._arrived.feed(self._header)
            self._header.clear()
            request = next(self._parser)
        except ParseException as error:
            raise Refused(refusal_of(error)) from None
        except (NoMoreData, StopIteration):
            raise Refused(Refusal(400, "INVALID_ARGUMENT", "the header has no end")) from None
        self._body = body_end(request)
        self._body.feed(self._arrived.rest())
        parsed: Any = request  # the stubs lack the attribute
        self.expects_continue = parsed._expected_100_continue and not self._body.whole  # noqa: SLF001  # it has no public name
        # Otherwise gunicorn sends a 100 response of its own before the answer.
        parsed._expected_100_continue = False  # noqa: SLF001  # ditto
        return request

    def _header_is_there(self) -> bool:
        """Whether the header is complete. Raises ParseException if it is invalid already."""
        if not self._header:
            return False
        if self._header[0] not in _FIRST_BYTES:
            raise InvalidRequestLine(self._header[:20].decode("latin-1"))
        if self._header.find(_HEADER_END, max(0, self._searched - len(_HEADER_END))) >= 0:
            return True
        if _BARE_LINE_FEED.search(self._header, max(0, self._searched - 1)):
            return True  # bare LF line ends never complete a header, so let the parser refuse it
        self._searched = len(self._header)
        if self._searched > _LARGEST_HEADER_BYTES:
            raise LimitRequestHeaders(f"the header is longer than {_LARGEST_HEADER_BYTES:,} bytes")
        return False


class _Arrived(Unreader):
    """Feeds arrived bytes to the parser in pieces like a socket, and then reports the end.

    The parser copies the rest of a piece for each chunk of a body, so pieces are small.
    """

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._given = 0

    @property
    def held_bytes(self) -> int:
        return len(self._data)

    def feed(self, data: bytes | bytearray) -> None:
        self._data += data

    def chunk(self, size_hint: int | None = None) -> bytes:
        piece = bytes(self._data[self._given : self._given + max(size_hint or 0, _PIECE_BYTES)])
        self._given += len(piece)
        return piece

    def rest(self) -> bytes:
        """The bytes that the parser has not consumed."""
        return self.buf.getvalue() + bytes(self._data[self._given :])

    def take(self) -> bytes:
        """Remove and return those bytes."""
        rest = self.rest()
        self.take_buffered()
        self._data.clear()
        self._given = 0
        return rest
