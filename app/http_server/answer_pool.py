"""The threads that make answers, and the way of the answers back into the event loop."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from app.http_server.connection import Connection
from app.http_server.wsgi_call import INTERNAL_ERROR, Answer


class AnswerPool:
    """So many threads. `wake_descriptor` is a pipe that does not block, read by the event loop."""

    def __init__(self, threads: int, wake_descriptor: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._answers: SimpleQueue[tuple[Connection, Answer]] = SimpleQueue()
        self._wake_descriptor = wake_descriptor
        # All start at once: a pool that grows with the load would look like one that leaks.
        started = threading.Barrier(threads + 1)
        for _ in range(threads):
            self._pool.submit(started.wait)
        started.wait()

    def make(self, connection: Connection, work: Callable[[], Answer]) -> None:
        """Has a thread make the answer for a connection."""
        self._pool.submit(self._make, connection, work)

    def made(self) -> Iterator[tuple[Connection, Answer]]:
        """The answers that are ready and were not given yet.

        Not those that become ready meanwhile: a client that sends its requests at once would keep
        the event loop from all others.
        """
        with suppress(Empty):
            for _ in range(self._answers.qsize()):
                yield self._answers.get_nowait()

    def close(self) -> None:
        """Takes no more work, and does not wait for what is under way."""
        self._pool.shutdown(wait=False)

    def _make(self, connection: Connection, work: Callable[[], Answer]) -> None:
        made = INTERNAL_ERROR
        try:
            made = work()
        finally:
            self._answers.put((connection, made))
            with suppress(BlockingIOError):  # a pipe that is full wakes the loop as well
                os.write(self._wake_descriptor, b".")
