"""The record of a job that lasts, and how it changes. Nothing here waits or does I/O.

Source of the states: cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from app.config.job_spec import JobSpec
from app.errors import InvalidArgument, JobError, shortened

# Also valid in the name of a task: its letters, digits, - and _, and at most 500 characters.
_JOB_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class JobState(StrEnum):
    """The states of a job, as Vertex AI names them."""

    QUEUED = "JOB_STATE_QUEUED"
    RUNNING = "JOB_STATE_RUNNING"
    SUCCEEDED = "JOB_STATE_SUCCEEDED"
    FAILED = "JOB_STATE_FAILED"
    CANCELLING = "JOB_STATE_CANCELLING"
    CANCELLED = "JOB_STATE_CANCELLED"
    EXPIRED = "JOB_STATE_EXPIRED"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


def is_job_id(text: str) -> bool:
    """Whether a job can have this id. None can be mistaken for a path."""
    return _JOB_ID.fullmatch(text) is not None


def check_job_id(job_id: str) -> str:
    """Return the id. Raises InvalidArgument."""
    if not is_job_id(job_id):
        raise InvalidArgument(
            "job_id must be 1 to 100 ASCII letters, digits, - and _, and begin with a letter or"
            f" digit, it is {shortened(job_id)!r}",
            {"parameters": ["job_id"]},
        )
    return job_id


def new_job_id() -> str:
    """An id for a job whose caller names none."""
    return uuid.uuid4().hex[:20]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job: nobody else begins it before `expires`."""

    owner: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Counts:
    """The progress of a job: complete files, all files, and the rows and bytes read so far.

    `new_files` are the complete files that this run has made.
    """

    files: int = 0
    files_total: int = 0
    rows: int = 0
    input_bytes: int = 0
    new_files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job at one moment.

    `attempts` counts the runs that have begun, without those that were interrupted and got
    further. `run_seconds` are those of all runs, `made_seconds` those of the last job with this
    record that has made an output. Before `retry_time` no run begins. `error` is that
    of the last run, as in an error response. `resource` is the request as Vertex AI's resource,
    with the path above it in `parent`; both are empty for other jobs.
    """

    job_id: str
    spec: JobSpec
    state: JobState = JobState.QUEUED
    create_time: datetime
    update_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    retry_time: datetime | None = None
    attempts: int = 0
    run_seconds: float = 0.0
    made_seconds: float = 0.0
    tasks: int = 0
    lease: Lease | None = None
    counts: Counts = field(default_factory=Counts)
    report: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    parent: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def is_leased(self, now: datetime) -> bool:
        return self.lease is not None and now < self.lease.expires

    def is_runnable(self, now: datetime) -> bool:
        """Whether a run may begin: queued and due, or left by an instance that is gone."""
        if self.state.is_final or self.is_leased(now):
            return False
        return self.retry_time is None or now >= self.retry_time

    @property
    def attempts_so_far(self) -> int:
        """The attempts, without that of an instance that is gone and got further."""
        has_got_further = self.lease is not None and self.counts.new_files > 0
        return self.attempts - 1 if has_got_further else self.attempts

    def taken(self, owner: str, now: datetime, lease_seconds: float) -> "JobRecord":
        """A run begins."""
        return replace(
            self,
            state=JobState.RUNNING,
            start_time=self.start_time or now,
            update_time=now,
            retry_time=None,
            attempts=self.attempts_so_far + 1,
            lease=Lease(owner, now + timedelta(seconds=lease_seconds)),
            counts=Counts(),
        )

    def renewed(
        self, now: datetime, lease_seconds: float, counts: Counts, run_seconds: float
    ) -> "JobRecord":
        """A run goes on."""
        assert self.lease is not None
        lease = Lease(self.lease.owner, now + timedelta(seconds=lease_seconds))
        return replace(self, update_time=now, lease=lease, counts=counts, run_seconds=run_seconds)

    def given_back(
        self, error: JobError, now: datetime, *, counts_as_attempt: bool, pause_seconds: float
    ) -> "JobRecord":
        """A run has ended before the job, which is queued again."""
        return replace(
            self,
            state=JobState.QUEUED,
            update_time=now,
            retry_time=now + timedelta(seconds=pause_seconds),
            attempts=self.attempts if counts_as_attempt else self.attempts - 1,
            lease=None,
            error=error.as_json()["error"],
        )

    def reopened(self, now: datetime) -> "JobRecord":
        """The job is to run again, though it has ended: its outputs decide what is made."""
        return replace(
            self,
            state=JobState.QUEUED,
            update_time=now,
            start_time=None,
            end_time=None,
            attempts=0,
            run_seconds=0.0,
            counts=Counts(),
            report=None,
            error=None,
        )

    def with_next_task(self) -> "JobRecord":
        """The queue has given the job up, so it gets another task."""
        return self if self.state.is_final else replace(self, tasks=self.tasks + 1)

    def succeeded(self, report: Mapping[str, Any], now: datetime) -> "JobRecord":
        """With `report`, which lists its files."""
        files = report.get("files")
        has_made = not isinstance(files, list) or any(
            file.get("state") != "REUSED" for file in files
        )
        seconds = self.run_seconds if has_made else self.made_seconds
        ended = self._ended(JobState.SUCCEEDED, now)
        return replace(ended, report=report, error=None, made_seconds=seconds)

    def failed(self, error: JobError, now: datetime) -> "JobRecord":
        return replace(self._ended(JobState.FAILED, now), error=error.as_json()["error"])

    def expired(self, error: JobError, now: datetime) -> "JobRecord":
        return replace(self._ended(JobState.EXPIRED, now), error=error.as_json()["error"])

    def cancelled(self, now: datetime, error: JobError) -> "JobRecord":
        return replace(self._ended(JobState.CANCELLED, now), error=error.as_json()["error"])

    def cancelling(self, now: datetime) -> "JobRecord":
        """Somebody asks the instance that runs the job to stop it."""
        return replace(self, state=JobState.CANCELLING, update_time=now)

    def _ended(self, state: JobState, now: datetime) -> "JobRecord":
        return replace(
            self, state=state, update_time=now, end_time=now, lease=None, retry_time=None
        )
