"""Runs jobs in the instances of a service, as its queue delivers them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from app.errors import Aborted, JobError, NotFound
from app.jobs.queue import JobQueue
from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.jobs.store import JobStore, Stored
from app.night.engine import Begun, Changed

# A queue takes 500 new tasks a second: cloud.google.com/tasks/docs/dual-overview#limits
_MOST_A_SECOND = 500.0
_PARALLEL_SUBMISSIONS = 32
_LOOK_SECONDS = 2.0
# Of the time, looking at records takes at most one part in so many.
_LOOK_SHARE = 10
# When nothing has happened for so long, the queue is asked whether it still has the jobs.
_QUIET_SECONDS = 60.0
_JOIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


class QueueEngine:
    """Records jobs, and puts them into a queue. With `waits`, follows their records to the end.

    A job that the queue has given up is not waited for.
    """

    def __init__(
        self,
        store: JobStore,
        queue: JobQueue,
        records: Callable[[], dict[str, JobRecord]],
        *,
        waits: bool,
    ) -> None:
        self._store = store
        self._queue = queue
        self._records = records
        self._waits = waits
        self._stopped = threading.Event()
        self.errors: list[JobError] = []

    @contextmanager
    def running(
        self, drafts: Sequence[JobRecord], *, begun: Begun, changed: Changed
    ) -> Iterator[list[threading.Thread]]:
        """See Engine. Jobs go on after the end of the block."""
        del begun  # their records tell
        thread = threading.Thread(target=self._run, args=(drafts, changed), name="queue")
        thread.start()
        try:
            yield [thread]
        finally:
            self._stopped.set()
            thread.join(_JOIN_SECONDS)

    def begin_no_more(self) -> None:
        self._stopped.set()

    def _run(self, drafts: Sequence[JobRecord], changed: Changed) -> None:
        try:
            self._submit_all(drafts, changed)
            if self._waits:
                self._follow({draft.job_id for draft in drafts}, changed)
        except JobError as error:
            self.errors.append(error)

    def _submit_all(self, drafts: Sequence[JobRecord], changed: Changed) -> None:
        """Raises the error of the first job that could not be submitted, after all others."""
        pace = _Pace(_MOST_A_SECOND)

        def submit(draft: JobRecord) -> JobError | None:
            if self._stopped.is_set():
                return None
            pace.wait()
            try:
                stored = self._recorded(draft)
                self._queue.submit(stored)
            except JobError as error:
                return error
            changed(stored.record)
            return None

        with ThreadPoolExecutor(_PARALLEL_SUBMISSIONS) as pool:
            errors = [error for error in pool.map(submit, drafts) if error is not None]
        if errors:
            logger.warning("%d of %d jobs were not submitted", len(errors), len(drafts))
            raise errors[0]

    def _recorded(self, draft: JobRecord) -> Stored:
        """Record a new job, or open again one that has ended: its outputs tell what is done."""
        try:
            return self._store.create(draft)
        except Aborted:
            pass
        try:
            return self._store.change(draft.job_id, _reopened)
        except NotFound:  # deleted at this moment
            return self._store.create(draft)

    def _follow(self, job_ids: set[str], changed: Changed) -> None:
        last_change = time.monotonic()
        seen: dict[str, JobRecord] = {}
        while not self._stopped.is_set():
            started = time.monotonic()
            records = self._records()
            new = [record for job_id, record in records.items() if seen.get(job_id) != record]
            for record in new:
                changed(record)
            seen = records
            pending = [
                record
                for job_id, record in records.items()
                if job_id in job_ids and not record.state.is_final
            ]
            if not pending:
                return
            if new:
                last_change = started
            elif started - last_change > _QUIET_SECONDS:
                if not are_alive(pending, self._queue):
                    return
                last_change = started
            took = time.monotonic() - started
            self._stopped.wait(max(_LOOK_SECONDS, took * _LOOK_SHARE))


def are_alive(pending: Iterable[JobRecord], queue: JobQueue) -> bool:
    """Whether any of these jobs runs, or is in the queue."""
    time_now = now()
    return any(record.is_leased(time_now) or queue.holds(record) for record in pending)


class _Pace:
    """Lets callers pass at most so often a second."""

    def __init__(self, most_a_second: float) -> None:
        self._pause = 1 / most_a_second
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            started = time.monotonic()
            turn = self._next = max(started, self._next + self._pause)
        threading.Event().wait(turn - started)


def _reopened(record: JobRecord) -> JobRecord:
    return record.reopened(now()) if record.state.is_final else record
