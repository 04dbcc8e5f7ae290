"""Finds the end of a request body in arriving bytes: RFC 9112, sections 6 and 7.

Gunicorn's parser validates the body once it is complete.
"""

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.message import Request

from app.errors import TooLarge
from app.http_server.refusals import Refusal, Refused

LARGEST_BODY_BYTES = 1024 * 1024
# A chunk of one byte takes six bytes. No client sends a large body like this by accident.
_MOST_CHUNKED_BYTES = 2 * LARGEST_BODY_BYTES
_LONGEST_LINE_BYTES = 8192
_LINE_END_BYTES = 2


class LengthBodyEnd:
    """Finds the end of a body with a Content-Length. Raises Refused if it is too large."""

    def __init__(self, length: int) -> None:
        if length > LARGEST_BODY_BYTES:
            raise _too_large(f"it has {length:,}")
        self._left = length

    @property
    def whole(self) -> bool:
        return self._left <= 0

    def feed(self, data: bytes) -> None:
        self._left -= len(data)


class ChunkedBodyEnd:
    """Finds the end of a chunked body. A malformed chunk ends it, and the parser refuses it."""

    def __init__(self) -> None:
        self.whole = False
        self._line = bytearray()
        self._in_trailers = False
        self._left_of_chunk = 0
        self._content_bytes = 0
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """Take bytes of the body. Raises Refused if the body or its chunk framing is too large."""
        at = 0
        while at < len(data) and not self.whole:
            if self._left_of_chunk > 0:
                step = min(self._left_of_chunk, len(data) - at)
                self._content_bytes += min(step, max(0, self._left_of_chunk - _LINE_END_BYTES))
                self._left_of_chunk -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._end_line()
            elif len(self._line) > _LONGEST_LINE_BYTES:
                self.whole = True
        self._bytes += at
        if self._content_bytes > LARGEST_BODY_BYTES:
            raise _too_large("it has more")
        if self._bytes > _MOST_CHUNKED_BYTES:
            raise _too_large(f"it has {_MOST_CHUNKED_BYTES:,} with its chunks' sizes")

    def _end_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._in_trailers:
            self.whole = line == b"\r\n"
            return
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0:
            self.whole = True
        elif size == 0:
            self._in_trailers = True
        else:
            self._left_of_chunk = size + _LINE_END_BYTES


def body_end(request: Request) -> LengthBodyEnd | ChunkedBodyEnd:
    """Choose how to find the end of the body, by the header. Raises Refused if it is too large."""
    reader = request.body.reader if request.body is not None else None
    if isinstance(reader, ChunkedReader):
        return ChunkedBodyEnd()
    return LengthBodyEnd(reader.length if isinstance(reader, LengthReader) else 0)


def _too_large(what: str) -> Refused:
    message = f"a body may have {LARGEST_BODY_BYTES:,} bytes, {what}"
    return Refused(Refusal(TooLarge.code, TooLarge.status, message))
