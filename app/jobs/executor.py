"""Runs recorded jobs in this instance, each under a lease."""

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from app.concurrency.deadline import StopSignal
from app.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    DeliveryEnded,
    InternalError,
    JobError,
    LeaseHeld,
    ServerFailed,
    ShuttingDown,
)
from app.job.runner import JobRunner
from app.jobs.lease import HeldLease, LeaseLost
from app.jobs.progress import RecordedProgress
from app.jobs.record import Counts, JobRecord, JobState
from app.jobs.record_json import now, timestamp
from app.jobs.store import JobStore, Stored
from app.settings import Settings
from app.telemetry.log import LogContext, job_context, log_failure
from app.telemetry.report import Report

_LONGEST_PAUSE_SECONDS = 60.0

logger = logging.getLogger(__name__)

_Outcome = Report | JobError


class JobExecutor:
    """Takes leases, runs jobs, and records how they end. `owner` names this instance in leases."""

    def __init__(self, settings: Settings, store: JobStore, runner: JobRunner) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._store = store
        self._runner = runner
        self._held: HeldLease | None = None

    def run(
        self, stored: Stored, stop_signal: StopSignal, *, within: float, trace: str = ""
    ) -> JobRecord:
        """Run the job, unless it has ended or another instance runs it; return how it ended.

        For callers that hold the runner's lock. After `within` seconds the run stops. Raises
        LeaseHeld if another instance runs the job, LeaseLost if one has taken it over meanwhile,
        and the error of the run if the job is queued again.
        """
        return self._run(self._begin(stored), stop_signal, within=within, trace=trace)

    def run_draft(self, draft: JobRecord, stop_signal: StopSignal, *, within: float) -> JobRecord:
        """The same for a job that may have no record yet: its first run is one write.

        One that has ended before the draft was made runs again: its outputs tell what is done.
        """
        try:
            stored = self._store.create(self._begun(draft))
        except Aborted:
            stored = self._store.change(draft.job_id, partial(self._reopened, draft))
        return self._run(stored, stop_signal, within=within, trace="")

    def counts(self, record: JobRecord) -> Counts:
        """The progress of a job: up to date if it runs here, else as it was recorded."""
        held = self._held
        if held is None or held.job_id != record.job_id or record.state.is_final:
            return record.counts
        return held.counts()

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel the job, or ask the instance that runs it to stop it. Raises NotFound."""

        def cancelled(record: JobRecord) -> JobRecord:
            time = now()
            if record.state.is_final:
                return record
            if record.is_leased(time):
                return record if record.state is JobState.CANCELLING else record.cancelling(time)
            return record.cancelled(time, Cancelled("the job was cancelled before it ran"))

        record = self._store.change(job_id, cancelled).record
        held = self._held
        if held is not None and held.job_id == job_id:
            held.cancel()
        return record

    def is_expired(self, record: JobRecord, time: datetime) -> bool:
        """Whether the job has waited too long for its first run."""
        longest = timedelta(seconds=self._settings.job_expiry_seconds)
        return record.start_time is None and time - record.create_time > longest

    def _run(
        self, stored: Stored, stop_signal: StopSignal, *, within: float, trace: str
    ) -> JobRecord:
        """Run a job whose lease this instance has taken, unless the job has ended."""
        if stored.record.state.is_final:
            return stored.record
        progress = RecordedProgress()
        lease = HeldLease(
            self._store,
            stored,
            lease_seconds=self._settings.lease_seconds,
            progress=progress,
            stop_signal=stop_signal,
            within=within,
        )
        with job_context(LogContext(stored.record.job_id, trace)):
            with self._holding(lease), lease.kept():
                outcome = self._outcome(stored.record, progress, stop_signal)
            return self._end(lease, outcome, progress)

    def _begin(self, stored: Stored) -> Stored:
        """Take the lease, or record why the job cannot run any more."""
        return self._store.change(stored.record.job_id, self._begun, stored)

    def _reopened(self, draft: JobRecord, record: JobRecord) -> JobRecord:
        if record.state.is_final and record.update_time < draft.create_time:
            record = record.reopened(draft.create_time)
        return self._begun(record)

    def _begun(self, record: JobRecord) -> JobRecord:
        settings, time = self._settings, now()
        if record.state.is_final:
            return record
        check_not_leased(record, time)
        if record.state is JobState.CANCELLING:
            return record.cancelled(time, Cancelled("the job was cancelled"))
        if self.is_expired(record, time):
            return record.expired(
                DeadlineExceeded(
                    f"the job has waited longer than the {settings.job_expiry_seconds:g} s of"
                    " JOB_EXPIRY_SECONDS, and was not begun"
                ),
                time,
            )
        if record.attempts_so_far >= settings.max_attempts:
            return record.failed(
                ServerFailed(
                    f"the job was begun {record.attempts} times, and its instance was gone before"
                    " the last run had ended; MAX_ATTEMPTS allows no more"
                ),
                time,
            )
        if self._seconds_left(record) <= 0:
            return record.failed(_time_is_up(record), time)
        return record.taken(self.owner, time, settings.lease_seconds)

    def _outcome(
        self, record: JobRecord, progress: RecordedProgress, stop_signal: StopSignal
    ) -> _Outcome:
        try:
            return self._runner.run(
                # The timeout is for all runs together.
                replace(record.spec, timeout_seconds=self._seconds_left(record)),
                job_id=record.job_id,
                writer_id=f"{record.job_id}@{timestamp(record.create_time)}",
                progress=progress,
                stop_signal=stop_signal,
            )
        except JobError as error:
            return error
        except Exception:
            logger.exception("unexpected error")
            return InternalError("internal error; the log has its trace")

    def _end(self, lease: HeldLease, outcome: _Outcome, progress: RecordedProgress) -> JobRecord:
        """Record the end of a run, and give the lease back."""
        if isinstance(outcome, JobError):
            log_failure(outcome)
        if isinstance(outcome, LeaseLost):
            raise outcome

        def ended(record: JobRecord) -> JobRecord:
            if record.lease is None or record.lease.owner != self.owner:
                raise LeaseLost("another instance has taken the job over")
            return self._ended(lease.as_run(record), outcome, progress)

        record = self._store.change(lease.job_id, ended, lease.stored).record
        if record.state is JobState.QUEUED:
            assert isinstance(outcome, JobError)
            raise outcome
        return record

    def _ended(self, record: JobRecord, outcome: _Outcome, progress: RecordedProgress) -> JobRecord:
        time = now()
        if isinstance(outcome, Report):
            return record.succeeded(outcome.as_json(), time)
        if isinstance(outcome, Cancelled) or (
            record.state is JobState.CANCELLING and outcome.is_retryable
        ):
            return record.cancelled(time, outcome)
        if not outcome.is_retryable or isinstance(outcome, DeadlineExceeded):
            return record.failed(outcome, time)
        is_interrupted = isinstance(outcome, ShuttingDown | DeliveryEnded)
        counts = not (is_interrupted and progress.completed_files)
        if counts and record.attempts >= self._settings.max_attempts:
            return record.failed(outcome, time)
        pause = 0.0 if is_interrupted else min(2.0**record.attempts, _LONGEST_PAUSE_SECONDS)
        return record.given_back(outcome, time, counts_as_attempt=counts, pause_seconds=pause)

    def _seconds_left(self, record: JobRecord) -> float:
        most = self._settings.job_timeout_seconds
        return min(record.spec.timeout_seconds or most, most) - record.run_seconds

    @contextmanager
    def _holding(self, lease: HeldLease) -> Iterator[None]:
        self._held = lease
        try:
            yield
        finally:
            self._held = None


def check_not_leased(record: JobRecord, time: datetime) -> None:
    """Raise LeaseHeld if an instance runs the job."""
    if record.is_leased(time):
        assert record.lease is not None
        seconds = (record.lease.expires - time).total_seconds()
        raise LeaseHeld(f"job {record.job_id} is running in another instance", int(seconds) + 1)


def _time_is_up(record: JobRecord) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the job's time is up: its {record.attempts} runs have taken {record.run_seconds:.0f} s"
    )
