"""When a job must be over, and whether it has been told to stop."""

import math
import threading
import time
from dataclasses import dataclass, field

from app.errors import OutOfTime, ShuttingDown


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
