"""Notices that the client of a job has disconnected."""

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
    """Stops the job that runs in the block once the other end of `connection` is closed.

    A caller that closes only its sending half counts as gone too. Source: poll(2), POLLRDHUP.
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
