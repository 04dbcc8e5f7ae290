"""Which job comes next: shared by the threads that run them."""

import threading
import time
from collections.abc import Iterable


class Schedule:
    """Jobs in order. One that must be tried again comes back when it is due."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(job_ids, 0.0)
        self._running = 0
        self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> str | None:
        """The next job that is due; None once all are done, or no more are to begin."""
        with self._changed:
            while not self._stopped and (self._waiting or self._running):
                now = time.monotonic()
                due = next((one for one, when in self._waiting.items() if when <= now), None)
                if due is not None:
                    del self._waiting[due]
                    self._running += 1
                    return due
                soonest = min(self._waiting.values(), default=now + 1)
                self._changed.wait(max(0.01, soonest - now))
            return None

    def done(self) -> None:
        """A job that was taken has ended."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def again(self, job_id: str, seconds: float) -> None:
        """A job that was taken is to be tried again after some seconds."""
        with self._changed:
            self._running -= 1
            self._waiting[job_id] = time.monotonic() + seconds
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin no more jobs."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
