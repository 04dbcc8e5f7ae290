"""Which job comes next: shared by the threads that run them."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from app.jobs.record import JobRecord

Refill = Callable[[], Sequence[tuple[JobRecord, float]]]


class Schedule:
    """Jobs in order. One that must be tried again comes back when it is due.

    When none is left, `refill` gives others, each with the seconds until it is due; no others end
    the schedule. It is called by one thread at a time.
    """

    def __init__(self, drafts: Iterable[JobRecord], refill: Refill = lambda: ()) -> None:
        self._waiting = {draft.job_id: (draft, 0.0) for draft in drafts}
        self._refill = refill
        self._is_refilling = False
        self._running = 0
        self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> JobRecord | None:
        """The next job that is due; None once all are done, or no more are to begin."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                for draft, due in self._waiting.values():
                    if due <= now:
                        del self._waiting[draft.job_id]
                        self._running += 1
                        return draft
                if self._waiting or self._is_refilling:
                    soonest = min((due for _, due in self._waiting.values()), default=now + 1)
                    self._changed.wait(max(0.01, soonest - now))
                elif not self._refilled() and not self._running:
                    return None
            return None

    def take_ahead(self, others: int) -> JobRecord | None:
        """A job that is due, for later, if enough are left for the `others` who take jobs.

        It counts as taken. So nobody waits for a job that somebody only holds.
        """
        with self._changed:
            now = time.monotonic()
            due = [draft for draft, when in self._waiting.values() if when <= now]
            if self._stopped or len(due) <= others:
                return None
            del self._waiting[due[0].job_id]
            self._running += 1
            return due[0]

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    def done(self) -> None:
        """A job that was taken has ended."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def again(self, draft: JobRecord, seconds: float) -> None:
        """A job that was taken is to be tried again after some seconds."""
        with self._changed:
            self._running -= 1
            self._waiting[draft.job_id] = (draft, time.monotonic() + seconds)
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin no more jobs."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _refilled(self) -> bool:
        """Ask for more without the lock; wait for a running job where there are none."""
        self._is_refilling = True
        self._changed.release()
        try:
            more = self._refill()
        finally:
            self._changed.acquire()
            self._is_refilling = False
        due = time.monotonic()
        self._waiting.update((draft.job_id, (draft, due + after)) for draft, after in more)
        self._changed.notify_all()
        if not more and self._running:
            self._changed.wait(1.0)
        return bool(more)
