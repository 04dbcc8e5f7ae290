"""The deadline of a job, and the signal that stops it early."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, ParamSpec, TypeVar

from app.errors import DeadlineExceeded, JobError

_TICK_SECONDS = 0.25
_GRACE_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class StopSignal:
    """Stops a job from outside, with an error. What stops `above` stops this one, too."""

    def __init__(self, above: "StopSignal | None" = None) -> None:
        self._stopped = threading.Event()
        self._error: JobError | None = None
        self._below: list[StopSignal] = []
        if above is not None:
            above._below.append(self)  # noqa: SLF001  # of the same class
            if above._error is not None:  # noqa: SLF001
                self.stop(above._error)  # noqa: SLF001

    def stop(self, error: JobError) -> None:
        """Stop the job with `error`, unless it was stopped before. Safe in signal handlers."""
        if self._error is None:
            self._error = error
        self._stopped.set()
        for signal in self._below:
            signal.stop(error)

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
        return self.start(function, *args, **kwargs).result()

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Started[T]":
        """Begin to call a function in a thread, as `run` does, and do not wait for it."""
        done: Future[T] = Future()

        def run_and_tell() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            # The waiting thread raises it.
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        context = contextvars.copy_context()
        name = getattr(function, "__name__", "wait")
        threading.Thread(target=context.run, args=(run_and_tell,), name=name, daemon=True).start()
        return Started(done, self)


@dataclass(frozen=True, slots=True)
class Started(Generic[T]):
    """A call that runs in a thread of its own."""

    _done: Future[T]
    _deadline: Deadline

    @property
    def has_ended(self) -> bool:
        return self._done.done()

    @property
    def failure(self) -> BaseException | None:
        """What a call that has ended has raised, if anything."""
        return self._done.exception() if self._done.done() else None

    def result(self, grace_seconds: float = _GRACE_SECONDS) -> T:
        """Wait for the result. Raises what the function raises, and as Deadline.remaining does.

        The function checks the deadline as well, so it gets some more seconds to end in.
        """
        while not self._done.done():
            try:
                wait([self._done], timeout=min(_TICK_SECONDS, self._deadline.remaining()))
            except JobError:
                wait([self._done], timeout=grace_seconds)
                if not self._done.done():
                    raise
        return self._done.result()
