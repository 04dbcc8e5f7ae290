"""One request is given to the WSGI application: PEP 3333. Its answer is gathered, not sent.

So the thread that makes it never waits for a client that does not read.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request

from app.http_server.refusals import Refusal


class Outlet:
    """Stands in for the connection's socket: keeps what is sent, and has its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.sent = bytearray()

    def fileno(self) -> int:
        return self._descriptor

    def sendall(self, data: bytes) -> None:
        self.sent += data


@dataclass(frozen=True, slots=True)
class Caller:
    """Both ends of a connection, as the socket module gives addresses."""

    descriptor: int
    client: Any
    server: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes to send, and whether the connection closes after them."""

    data: bytes | bytearray
    closes: bool


INTERNAL_ERROR = Answer(
    Refusal(500, "INTERNAL", "internal error; the log has its trace").answer(), closes=True
)


def answer(
    application: Any, request: Request, caller: Caller, log: Logger, *, last: bool
) -> Answer:
    """The application's answer. `last` tells the client that the connection closes.

    All of the request's body is read, so that what follows it is the next request.
    """
    started = datetime.now()  # noqa: DTZ005  # as gunicorn's access log wants it
    outlet: Any = Outlet(caller.descriptor)
    try:
        response, environ = wsgi.create(request, outlet, caller.client, caller.server, request.cfg)
        environ["wsgi.multithread"] = True
        if last:
            response.force_close()
        parts = application(environ, response.start_response)
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            log.access(response, request, environ, datetime.now() - started)  # noqa: DTZ005  # ditto
            if hasattr(parts, "close"):
                parts.close()
    except Exception:
        log.exception("the application failed on %s %s", request.method, request.path)
        return INTERNAL_ERROR
    return Answer(outlet.sent, closes=response.should_close() or not _is_read(request))


def _is_read(request: Request) -> bool:
    """Reads what the application has left of the body. False where its end cannot be found."""
    try:
        if request.body is not None:
            request.body.read()
    except (OSError, ParseException):
        return False
    return not getattr(request.body, "failed", False)
