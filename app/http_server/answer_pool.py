"""A thread pool that makes answers, and returns them to the event loop."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from app.http_server.connection import Connection
from app.http_server.wsgi_call import INTERNAL_ERROR, Answer


class AnswerPool:
    """A fixed number of threads.

    `wake_descriptor` is a non-blocking pipe that the event loop reads.
    """

    def __init__(self, threads: int, wake_descriptor: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._answers: SimpleQueue[tuple[Connection, Answer]] = SimpleQueue()
        self._wake_descriptor = wake_descriptor
        # Start all threads at once: a growing pool would look like a leak.
        started = threading.Barrier(threads + 1)
        for _ in range(threads):
            self._pool.submit(started.wait)
        started.wait()

    def make(self, connection: Connection, work: Callable[[], Answer]) -> None:
        """Make the answer for a connection in a thread."""
        self._pool.submit(self._make, connection, work)

    def made(self) -> Iterator[tuple[Connection, Answer]]:
        """The answers that are ready now.

        Answers that finish during the iteration come next time, so that one client's pipelined
        requests do not starve the others.
        """
        with suppress(Empty):
            for _ in range(self._answers.qsize()):
                yield self._answers.get_nowait()

    def close(self) -> None:
        """Accept no more work, and do not wait for running work."""
        self._pool.shutdown(wait=False)

    def _make(self, connection: Connection, work: Callable[[], Answer]) -> None:
        made = INTERNAL_ERROR
        try:
            made = work()
        finally:
            self._answers.put((connection, made))
            with suppress(BlockingIOError):  # a full pipe wakes the loop as well
                os.write(self._wake_descriptor, b".")
