"""When a job must be over, and whether it has been told to stop."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import TypeVar

from app.errors import OutOfTime, ShuttingDown

_TICK_SECONDS = 0.25
_GRACE_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant on the monotonic clock, and an event that ends the job before it."""

    instant: float
    seconds: float
    stopped: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def after(cls, seconds: float, stopped: threading.Event | None = None) -> "Deadline":
        return cls(time.monotonic() + seconds, seconds, stopped or threading.Event())

    @classmethod
    def never(cls) -> "Deadline":
        return cls(math.inf, math.inf)

    def remaining(self) -> float:
        """Seconds left, above 0. Raises OutOfTime, or ShuttingDown where the instance ends."""
        if self.stopped.is_set():
            raise ShuttingDown("the instance is shutting down; the job was stopped")
        seconds = self.instant - time.monotonic()
        if seconds <= 0:
            raise OutOfTime(f"the job's time of {self.seconds:g} s is up")
        return seconds

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, unless the deadline comes first.

        For waits that cannot be interrupted: `work` runs in a thread of its own, which is left to
        its own time-outs when this one is told to stop waiting.
        """
        done: Future[T] = Future()

        def run_and_tell() -> None:
            try:
                done.set_result(work())
            # Not swallowed: it is raised in the thread that waits.
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run_and_tell,), name="wait", daemon=True).start()
        while True:
            try:
                return done.result(timeout=min(_TICK_SECONDS, self.remaining()))
            except FutureTimeout:
                if done.done():
                    return done.result()
            except (OutOfTime, ShuttingDown):
                # Work that heeds the deadline as well is about to end; nothing then goes on behind
                # the back of whoever cleans up.
                wait([done], timeout=_GRACE_SECONDS)
                raise
