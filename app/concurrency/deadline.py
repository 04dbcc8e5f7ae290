"""When a job must be over, and whether it has been told to stop."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from app.errors import DeadlineExceeded, JobError

_TICK_SECONDS = 0.25
_GRACE_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class StopSignal:
    """Ends a job from outside, with an error of its own."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._error: JobError | None = None

    def stop(self, error: JobError) -> None:
        """The first error counts. May be called by a signal handler."""
        if self._error is None:
            self._error = error
        self._stopped.set()

    def check(self) -> None:
        """Raises the error of whoever has stopped the job."""
        if self._error is not None:
            raise type(self._error)(self._error.message, self._error.details)

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or as soon as the job is stopped."""
        self._stopped.wait(seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant on the monotonic clock, and a signal that ends the job before it."""

    instant: float
    seconds: float
    stop_signal: StopSignal = field(default_factory=StopSignal)

    @classmethod
    def after(cls, seconds: float, stop_signal: StopSignal | None = None) -> "Deadline":
        return cls(time.monotonic() + seconds, seconds, stop_signal or StopSignal())

    @classmethod
    def never(cls) -> "Deadline":
        return cls(math.inf, math.inf)

    def remaining(self) -> float:
        """Seconds left, above 0. Raises DeadlineExceeded, or the error that stopped the job."""
        self.stop_signal.check()
        seconds = self.instant - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"the job's time of {self.seconds:g} s is up")
        return seconds

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end of the job; raises as `remaining` does."""
        self.stop_signal.wait(min(seconds, self.remaining()))
        self.remaining()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises, unless the deadline comes first.

        For waits that cannot be interrupted: the function runs in a thread of its own, which is
        left to its own time-outs when this one is told to stop waiting.
        """
        done: Future[T] = Future()

        def run_and_tell() -> None:
            try:
                done.set_result(function(*args, **kwargs))
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
            except JobError:
                # Work that heeds the deadline as well is about to end; nothing then goes on behind
                # the back of whoever cleans up.
                wait([done], timeout=_GRACE_SECONDS)
                raise
