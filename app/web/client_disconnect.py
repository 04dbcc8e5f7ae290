"""Detects that the client of a job disconnected."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.concurrency.deadline import StopSignal
from app.errors import Cancelled

_POLL_MILLISECONDS = 200
_JOIN_SECONDS = 2.0


@contextmanager
def stop_on_disconnect(connection: socket.socket, stop_signal: StopSignal) -> Iterator[None]:
    """Stop the job in the block when the client closes `connection`.

    Closing only the sending half counts as well. Source: poll(2), POLLRDHUP.
    """
    over = threading.Event()

    def watch() -> None:
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        while not over.is_set():
            if poll.poll(_POLL_MILLISECONDS):
                stop_signal.stop(Cancelled("the client disconnected; the job was stopped"))
                return

    watcher = threading.Thread(target=watch, name="client-disconnect", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(_JOIN_SECONDS)
