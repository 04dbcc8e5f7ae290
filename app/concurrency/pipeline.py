"""A pipelined stream: each step runs in its own thread, a few items ahead.

Items keep their order, and memory is bounded by the depth of each step. An error is raised where
the next item is requested.
"""

import contextvars
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from app.concurrency.deadline import Deadline

_TICK_SECONDS = 0.25
_JOIN_SECONDS = 1.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


def _no_bytes(_: object) -> int:
    return 0


class Pipeline:
    """The steps of one stream. On exit, all of them are stopped and joined."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._steps: list[_Step[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for step in self._steps:
            step.close()
        give_up = time.monotonic() + _JOIN_SECONDS
        for step in self._steps:
            step.thread.join(max(0.0, give_up - time.monotonic()))
            if step.thread.is_alive():
                logger.error("the thread %s did not stop", step.thread.name)

    def prefetch(
        self,
        items: Iterable[T],
        *,
        name: str,
        max_items: int,
        max_bytes: int = sys.maxsize,
        size_of: Callable[[T], int] = _no_bytes,
    ) -> Iterator[T]:
        """Produce the items in a thread ahead of the consumer.

        The thread waits while `max_items` items, or items of `max_bytes` in total, are ready.
        """
        limits = _Limits(max_items, max_bytes, size_of)
        step = _Step(items, limits, name=name, deadline=self._deadline)
        self._steps = [running for running in self._steps if running.thread.is_alive()]
        self._steps.append(step)
        step.thread.start()
        return step


@dataclass(frozen=True, slots=True)
class _Limits:
    max_items: int
    max_bytes: int
    size_of: Callable[[Any], int]


class _ClosedEarly(Exception):
    """The stream was closed while a later step requested items."""


class _Step(Generic[T]):
    def __init__(
        self, items: Iterable[T], limits: _Limits, *, name: str, deadline: Deadline
    ) -> None:
        self._items = items
        self._limits = limits
        self._bytes = 0
        self._deadline = deadline
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        # The thread's log records belong to the job that started it.
        context = contextvars.copy_context()
        self.thread = threading.Thread(
            target=context.run, args=(self._run,), name=name, daemon=True
        )

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            while not self._ready and not self._ended and not self._closed:
                self._changed.wait(min(_TICK_SECONDS, self._deadline.remaining()))
            if self._ready:
                item = self._ready.popleft()
                self._bytes -= self._limits.size_of(item)
                self._changed.notify_all()
                return item
            if self._closed:
                # Items were dropped, so this is not the regular end.
                raise _ClosedEarly(self.thread.name)
            if self._error is not None:
                raise self._error
            raise StopIteration

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        # The consuming thread raises it.
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Put an item into the queue; False if the stream is closed."""
        with self._changed:
            while self._is_full() and not self._closed:
                self._changed.wait(_TICK_SECONDS)
            if self._closed:
                return False
            self._ready.append(item)
            self._bytes += self._limits.size_of(item)
            self._changed.notify_all()
            return True

    def _is_full(self) -> bool:
        return len(self._ready) >= self._limits.max_items or self._bytes >= self._limits.max_bytes
