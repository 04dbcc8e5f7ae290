"""Without a queue of its own, each instance looks for jobs that nobody runs."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf

from app.errors import Busy, JobError
from app.job.runner import JobRunner
from app.jobs.executor import JobExecutor
from app.jobs.places import Places
from app.jobs.queue import QueueLimits
from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.jobs.store import JobStore, Stored

# How often an instance looks for jobs that others have left.
_SCAN_SECONDS = 30.0
_TURN_SECONDS = 1.0
# A job that could not be begun is not tried at once: others may use the instance meanwhile.
_AGAIN_SECONDS = 2.0
_JOIN_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A job that may run from `due` on. `stored` is None if the record was only listed."""

    job_id: str
    created: datetime
    due: datetime
    stored: Stored | None


class InstanceQueue:
    """Runs jobs in this instance, one after the other, in the order of their creation.

    A thread runs what is submitted here. It looks now and then for jobs in the store that nobody
    runs: those of an instance that is gone.
    """

    def __init__(
        self, store: JobStore, executor: JobExecutor, runner: JobRunner, places: Places
    ) -> None:
        self._store = store
        self._places = places
        self._executor = executor
        self._runner = runner
        self._waiting: dict[str, _Waiting] = {}
        self._changed = threading.Condition()
        self._next_scan = now()
        self._stopped = False
        self._calls: dict[str, threading.Timer] = {}
        self._thread = threading.Thread(target=self._serve, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no more jobs, and wait a moment for the running one to be recorded."""
        with self._changed:
            self._stopped = True
            for timer in self._calls.values():
                timer.cancel()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def submit(self, stored: Stored) -> None:
        record = stored.record
        if record.state.is_final:
            return
        with self._changed:
            self._waiting[record.job_id] = _as_waiting(record, stored)
            self._changed.notify()

    def holds(self, record: JobRecord) -> bool:
        with self._changed:
            return record.job_id in self._waiting

    def call_later(self, path: str, action: Callable[[], None], seconds: float) -> None:
        """Nobody calls if this instance ends before."""
        with self._changed:
            if self._stopped or path in self._calls:
                return
            timer = threading.Timer(seconds, self._call, (path, action, seconds))
            timer.daemon = True
            self._calls[path] = timer
        timer.start()

    def limits(self) -> QueueLimits | None:
        return None

    def withdraw(self, record: JobRecord) -> None:
        with self._changed:
            waiting = self._waiting.get(record.job_id)
            # A new job may have the id of a deleted one.
            if waiting is not None and waiting.created == record.create_time:
                del self._waiting[record.job_id]

    def _call(self, path: str, action: Callable[[], None], seconds: float) -> None:
        """As a queue does: again until it succeeds."""
        with self._changed:
            self._calls.pop(path, None)
        try:
            action()
        except JobError as error:
            logger.warning("%s: %s", path, error)
            self.call_later(path, action, seconds)
        except Exception:
            logger.exception("unexpected error")
            self.call_later(path, action, seconds)

    def _serve(self) -> None:
        while not self._stopped:
            try:
                if now() >= self._next_scan:
                    self._next_scan = now() + timedelta(seconds=_SCAN_SECONDS)
                    self._scan()
                if self._wait_until_due():
                    self._run_next()
            except Busy:
                continue  # a synchronous job is running
            except JobError as error:
                logger.warning("%s", error)
                self._pause()
            except Exception:
                logger.exception("unexpected error")
                self._pause()

    def _scan(self) -> None:
        for record in self._store.all():
            if self._may_end(record):
                with self._changed:
                    self._waiting.setdefault(record.job_id, _as_waiting(record, None))

    def _may_end(self, record: JobRecord) -> bool:
        """Whether this instance may run the job, or say that it has waited too long."""
        if record.state.is_final:
            return False
        return self._places.allow(record) or self._executor.is_expired(record, now())

    def _wait_until_due(self) -> bool:
        """Wait for the next job or scan; whether a job is due."""
        with self._changed:
            due = min((one.due for one in self._waiting.values()), default=self._next_scan)
            seconds = (min(due, self._next_scan) - now()).total_seconds()
            if seconds > 0:
                self._changed.wait(seconds)
            return not self._stopped and any(one.due <= now() for one in self._waiting.values())

    def _run_next(self) -> None:
        with self._runner.alone(wait_seconds=_TURN_SECONDS) as stop_signal:
            if self._runner.is_ending:
                self._stopped = True
                return
            waiting = self._take()
            if waiting is None:
                return
            stored = waiting.stored or self._store.load(waiting.job_id)
            if not stored.record.is_runnable(now()):
                self.submit(stored)
                return
            if not self._may_end(stored.record):
                return
            try:
                self._executor.run(stored, stop_signal, within=inf)
            except JobError:
                # Its record says when to try again, and is looked at by then.
                self._look_again(waiting.job_id)

    def _take(self) -> _Waiting | None:
        """The oldest job that is due, which waits no more."""
        with self._changed:
            due = [one for one in self._waiting.values() if one.due <= now()]
            if not due:
                return None
            first = min(due, key=lambda one: (one.created, one.job_id))
            return self._waiting.pop(first.job_id)

    def _look_again(self, job_id: str) -> None:
        try:
            stored = self._store.load(job_id)
            if not stored.record.state.is_final:
                waiting = _as_waiting(stored.record, stored)
                due = max(waiting.due, now() + timedelta(seconds=_AGAIN_SECONDS))
                with self._changed:
                    self._waiting[job_id] = replace(waiting, due=due)
        except JobError as error:
            logger.warning("%s", error)  # the next scan finds it, unless it is gone

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait(_TURN_SECONDS)


def _as_waiting(record: JobRecord, stored: Stored | None) -> _Waiting:
    """A job that another instance runs is due when that one's lease ends."""
    due = record.create_time
    if record.lease is not None:
        due = record.lease.expires
    elif record.retry_time is not None:
        due = record.retry_time
    return _Waiting(record.job_id, record.create_time, due, stored)
