"""Calls the WSGI application (PEP 3333) with one request, and collects its response.

The thread never waits for a client that does not read.
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
    """Replaces the connection's socket: collects what is sent, and has its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.sent = bytearray()

    def fileno(self) -> int:
        return self._descriptor

    def sendall(self, data: bytes) -> None:
        self.sent += data


@dataclass(frozen=True, slots=True)
class Caller:
    """The addresses of both ends of a connection."""

    descriptor: int
    client: Any
    server: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of a response, and whether the connection closes after it."""

    data: bytes | bytearray
    closes: bool


INTERNAL_ERROR = Answer(
    Refusal(500, "INTERNAL", "internal error; the log has its trace").answer(), closes=True
)


def answer(
    application: Any, request: Request, caller: Caller, log: Logger, *, last: bool
) -> Answer:
    """Call the application; return its response. `last` announces the end of the connection.

    Reads the complete request body, so that the next bytes are the next request.
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
    """Read the rest of the body; False if its end cannot be found."""
    try:
        if request.body is not None:
            request.body.read()
    except (OSError, ParseException):
        return False
    return not getattr(request.body, "failed", False)
