"""Detects that the client of a job disconnected."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Request

from app.concurrency.deadline import StopSignal
from app.errors import Cancelled

_POLL_MILLISECONDS = 200
_JOIN_SECONDS = 2.0


def connection_of(request: Request) -> socket.socket | None:
    """The client's connection, where gunicorn puts it: docs.gunicorn.org, `gunicorn.socket`."""
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    return connection


def has_disconnected(connection: socket.socket, milliseconds: int = 0) -> bool:
    """Whether the client closes `connection` within that time.

    Closing only the sending half counts as well. Source: poll(2), POLLRDHUP.
    """
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(milliseconds))


@contextmanager
def stop_on_disconnect(connection: socket.socket, stop_signal: StopSignal) -> Iterator[None]:
    """Stop the job in the block when the client closes `connection`."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if has_disconnected(connection, _POLL_MILLISECONDS):
                stop_signal.stop(Cancelled("the client disconnected; the job was stopped"))
                return

    watcher = threading.Thread(target=watch, name="client-disconnect", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(_JOIN_SECONDS)
