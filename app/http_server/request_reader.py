"""The bytes of a connection, kept until a request is whole: its header and its body.

Gunicorn's parser waits for what it reads, and a thread with it. Here it is given only what has
arrived, so it never waits. Source: RFC 9112.
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
# A method begins with one of these; an empty line may come before it.
_FIRST_BYTES = frozenset(
    b"\r!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_PIECE_BYTES = 8192


class RequestReader:
    """Takes what one connection receives, and gives its requests one after the other.

    `ended` is true once no more will come. `expects_continue` is true while the client waits for
    a 100 before it sends the body.
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
        """Whether a request has begun to arrive that is not given yet."""
        return self.in_body or bool(self._header)

    @property
    def in_body(self) -> bool:
        """Whether its header has arrived."""
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
        """The next request, or None until it is whole. Raises Refused where there can be none.

        One whose body ends too early comes with what there is of it, and the connection closes
        after its answer.
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
        """To be called when the last request is answered, and all of its body read."""
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
        parsed: Any = request  # the stubs do not know the attribute
        self.expects_continue = parsed._expected_100_continue and not self._body.whole  # noqa: SLF001  # it has no public name
        # Gunicorn would send a 100 of its own, just before the answer.
        parsed._expected_100_continue = False  # noqa: SLF001  # ditto
        return request

    def _header_is_there(self) -> bool:
        """Whether the parser can judge what there is. Raises ParseException where it need not."""
        if not self._header:
            return False
        if self._header[0] not in _FIRST_BYTES:
            raise InvalidRequestLine(self._header[:20].decode("latin-1"))
        if self._header.find(_HEADER_END, max(0, self._searched - len(_HEADER_END))) >= 0:
            return True
        if _BARE_LINE_FEED.search(self._header, max(0, self._searched - 1)):
            return True  # for the parser to refuse: what ends its lines so never has an end
        self._searched = len(self._header)
        if self._searched > _LARGEST_HEADER_BYTES:
            raise LimitRequestHeaders(f"the header is longer than {_LARGEST_HEADER_BYTES:,} bytes")
        return False


class _Arrived(Unreader):
    """Gives the parser what has arrived, and then an end, in pieces as a socket would.

    The parser copies the rest of a piece for each chunk of a body, so pieces must be small.
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
        """What the parser has not used yet."""
        return self.buf.getvalue() + bytes(self._data[self._given :])

    def take(self) -> bytes:
        """The same, which is then no longer here."""
        rest = self.rest()
        self.take_buffered()
        self._data.clear()
        self._given = 0
        return rest
