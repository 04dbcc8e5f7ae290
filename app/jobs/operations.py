"""What can be done with jobs that last: submit, look, list, cancel, delete, and deliver."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from app.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    JobError,
    NotFound,
    shortened,
)
from app.job.runner import JobRunner
from app.jobs.executor import JobExecutor, check_not_leased
from app.jobs.places import Places
from app.jobs.queue import JobQueue
from app.jobs.record import JobRecord, is_job_id
from app.jobs.record_json import now, parse_timestamp, timestamp
from app.jobs.store import JobStore, Stored
from app.settings import Settings

DEFAULT_PAGE_SIZE = 100
MOST_PAGE_SIZE = 1000
_RECORDING_SECONDS = 15.0
_CREATE_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the listed jobs, newest first. An empty token means that there are no more."""

    records: list[JobRecord]
    next_token: str


class JobOperations:
    """The jobs of one store. A job whose places this instance may not use is not shown."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        executor: JobExecutor,
        queue: JobQueue,
        runner: JobRunner,
    ) -> None:
        self._settings = settings
        self._store = store
        self._executor = executor
        self._queue = queue
        self._runner = runner
        self._places = Places(settings)

    def submit(self, record: JobRecord, *, is_named: bool) -> JobRecord:
        """Record a new job, and put it into the queue.

        The same id with the same parameters is the same job. `is_named` says that the caller has
        chosen the id. Raises AlreadyExists if the parameters differ. Raises QueueFailed; then a job
        that the caller has named stays recorded, and submitting it again goes on.
        """
        self._places.check(record)
        stored = self._created(record)
        if not _is_same(stored.record, record):
            raise AlreadyExists(f"there is a job {record.job_id} with other parameters")
        try:
            self._queue.submit(stored)
        except JobError:
            if not is_named:
                # Nobody else knows of it.
                self._store.delete(stored)
            raise
        return stored.record

    def get(self, job_id: str) -> JobRecord:
        """The job with its progress so far. Raises NotFound."""
        record = self._load(job_id).record
        return replace(record, counts=self._executor.counts(record))

    def list(self, wanted: Callable[[JobRecord], bool], page_size: int, page_token: str) -> Page:
        """The newest of the `wanted` jobs, after those before `page_token`.

        Reports count their files. Raises InvalidArgument for a token of another listing.
        """
        if page_size < 0:
            raise InvalidArgument(f"the page size must not be negative, it is {page_size}")
        size = min(page_size or DEFAULT_PAGE_SIZE, MOST_PAGE_SIZE)
        records = [
            record for record in self._store.all() if wanted(record) and self._places.allow(record)
        ]
        records.sort(key=_age, reverse=True)
        if page_token:
            before = _parse_token(page_token)
            records = [record for record in records if _age(record) < before]
        more = len(records) > size
        return Page(records[:size], _token(records[size - 1]) if more else "")

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel the job; one that has ended stays as it is. Raises NotFound."""
        self._load(job_id)
        record = self._executor.cancel(job_id)
        if record.state.is_final:
            self._queue.withdraw(record)
        return record

    def delete(self, job_id: str) -> None:
        """Delete the record. Raises NotFound, and FailedPrecondition for a job that may still run.

        Outputs stay.
        """
        stored = self._load(job_id)
        if not stored.record.state.is_final:
            raise FailedPrecondition(
                f"job {job_id} is {stored.record.state}: cancel it before it is deleted"
            )
        self._store.delete(stored)
        self._queue.withdraw(stored.record)

    def deliver(self, job_id: str, trace: str) -> JobRecord:
        """Run the job as a queue delivers it, unless it has ended; return how it ended.

        Raises NotFound; PermissionDenied for a job of places that may not be used; Busy,
        ShuttingDown and LeaseHeld if it cannot run here and now; and the error of a run that has
        failed for a passing reason.
        """
        stored = self._store.load(job_id)
        if stored.record.state.is_final:
            return stored.record
        check_not_leased(stored.record, now())
        if not self._executor.is_expired(stored.record, now()):
            self._places.check(stored.record)
        within = _delivery_seconds(self._settings)
        with self._runner.alone() as stop_signal:
            stop_signal.check()  # an instance that ends begins nothing
            return self._executor.run(stored, stop_signal, within=within, trace=trace)

    def _created(self, record: JobRecord) -> Stored:
        """The new record, or the one that is there with its id."""
        for last_attempt in (*[False] * (_CREATE_ATTEMPTS - 1), True):
            try:
                return self._store.create(record)
            except Aborted:
                try:
                    return self._store.load(record.job_id)
                except NotFound:  # deleted at this moment
                    if last_attempt:
                        raise
        raise AssertionError

    def _load(self, job_id: str) -> Stored:
        """Raises NotFound, and PermissionDenied for a job of places that may not be used."""
        if not is_job_id(job_id):
            raise NotFound(f"there is no job {shortened(job_id)!r}")
        stored = self._store.load(job_id)
        self._places.check(stored.record)
        return stored


def _delivery_seconds(settings: Settings) -> float:
    """How long a run may take within one delivery, so that its end is recorded in time."""
    most = settings.dispatch_deadline_seconds
    return most - min(_RECORDING_SECONDS, most / 5)


def _is_same(one: JobRecord, other: JobRecord) -> bool:
    return (one.spec, one.parent, one.resource) == (other.spec, other.parent, other.resource)


def _age(record: JobRecord) -> tuple[datetime, str]:
    return record.create_time, record.job_id


def _token(record: JobRecord) -> str:
    text = f"{timestamp(record.create_time)} {record.job_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_token(token: str) -> tuple[datetime, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        created, _, job_id = text.partition(" ")
        when = parse_timestamp(created)
    except ValueError:
        raise InvalidArgument(
            f"the page token must be one of an earlier answer, it is {shortened(token)!r}"
        ) from None
    return when, job_id
