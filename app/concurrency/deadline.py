"""The deadline of a job, and the signal that stops it early."""

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
    """Stops a job from outside, with an error."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._error: JobError | None = None

    def stop(self, error: JobError) -> None:
        """Stop the job with `error`, unless it was stopped before. Safe in signal handlers."""
        if self._error is None:
            self._error = error
        self._stopped.set()

    def check(self) -> None:
        """Raise the error that stopped the job, if any."""
        if self._error is not None:
            raise type(self._error)(self._error.message, self._error.details)

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the job is stopped."""
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
        """The seconds left, above 0. Raises DeadlineExceeded, or the error that stopped the job."""
        self.stop_signal.check()
        seconds = self.instant - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"the job's time of {self.seconds:g} s is up")
        return seconds

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the deadline. Raises as `remaining` does."""
        self.stop_signal.wait(min(seconds, self.remaining()))
        self.remaining()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function; return its result unless the deadline comes first.

        For calls that cannot be interrupted: the function runs in a thread, which is left to its
        own timeouts after the deadline.
        """
        done: Future[T] = Future()

        def run_and_tell() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            # The waiting thread raises it.
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
                # The function checks the deadline as well, so wait a moment for it before
                # cleaning up.
                wait([done], timeout=_GRACE_SECONDS)
                raise
