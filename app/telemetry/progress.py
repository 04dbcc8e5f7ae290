"""The progress of a running job."""

import logging
import time
from typing import Protocol

_LOG_EVERY_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Receives the progress of one job, from one thread and in this order."""

    def phase(self, name: str) -> None:
        """A phase begins, described by a short sentence."""

    def total(self, *, files: int, size: int) -> None:
        """The number of input files, and their total size in bytes."""

    def files(self, *, done: int, total: int) -> None:
        """The number of complete files so far, and of all. Reused ones are complete."""

    def advanced(self, *, rows: int, size: int) -> None:
        """More rows were predicted, from about `size` more bytes of input."""


class LoggedProgress:
    """Logs each phase, and the progress now and then."""

    def __init__(self) -> None:
        self._rows = 0
        self._size = 0
        self._total = 0
        self._next = time.monotonic() + _LOG_EVERY_SECONDS

    def phase(self, name: str) -> None:
        logger.info("%s", name)

    def total(self, *, files: int, size: int) -> None:
        self._total = size
        logger.info("%d input files, %d bytes", files, size)

    def files(self, *, done: int, total: int) -> None:
        """Each file's end is too much for a log."""

    def advanced(self, *, rows: int, size: int) -> None:
        self._rows += rows
        self._size += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOG_EVERY_SECONDS
            logger.info("%d rows, %d of %d bytes", self._rows, self._size, self._total)
