"""Error responses for invalid and incomplete requests, which never reach the application."""

from dataclasses import dataclass
from http import HTTPStatus

import orjson
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)

from app.errors import typed_details

_MOST_CHARACTERS_SHOWN = 200
_CODES: tuple[tuple[type[ParseException], int, str], ...] = (
    (LimitRequestLine, 414, "OUT_OF_RANGE"),
    (LimitRequestHeaders, 431, "OUT_OF_RANGE"),
    (ExpectationFailed, 417, "FAILED_PRECONDITION"),
    (UnsupportedTransferCoding, 501, "UNIMPLEMENTED"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is the HTTP status; `status` the name of the google.rpc code."""

    code: int
    status: str
    message: str
    retry_after_seconds: int | None = None

    def answer(self) -> bytes:
        """The complete response, which closes the connection."""
        details = typed_details("REQUEST_REFUSED", {}, self.retry_after_seconds)
        error = {
            "code": self.code,
            "status": self.status,
            "message": self.message,
            "details": details,
        }
        body = orjson.dumps(
            {"error": error}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )
        lines = [
            f"HTTP/1.1 {self.code} {HTTPStatus(self.code).phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self.retry_after_seconds is not None:
            lines.append(f"Retry-After: {self.retry_after_seconds}")
        return "\r\n".join([*lines, "", ""]).encode() + body


class Refused(Exception):
    """The connection holds no valid request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal_of(error: ParseException) -> Refusal:
    """The response to an error of gunicorn's parser."""
    message = f"this is no HTTP request that can be answered: {shortened(str(error))}"
    for kind, code, status in _CODES:
        if isinstance(error, kind):
            return Refusal(code, status, message)
    return Refusal(400, "INVALID_ARGUMENT", message)


def shortened(text: str) -> str:
    """Shorten what a client sent, for an error message."""
    if len(text) <= _MOST_CHARACTERS_SHOWN:
        return text
    return f"{text[:_MOST_CHARACTERS_SHOWN]}... ({len(text):,} characters)"
