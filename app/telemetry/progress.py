"""What is told while a job runs."""

import logging
import time
from typing import Protocol

_LOG_EVERY_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Listens to one job. Calls come from one thread, in this order."""

    def phase(self, name: str) -> None:
        """A phase begins: a short sentence for people."""

    def total(self, *, files: int, size: int) -> None:
        """How many input files there are, and their bytes."""

    def advanced(self, *, rows: int, size: int) -> None:
        """So many more rows are predicted, and about so many more bytes of input done."""


class LoggedProgress:
    """A record for each phase, and one now and then while rows stream."""

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

    def advanced(self, *, rows: int, size: int) -> None:
        self._rows += rows
        self._size += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOG_EVERY_SECONDS
            logger.info("%d rows, %d of %d bytes", self._rows, self._size, self._total)
