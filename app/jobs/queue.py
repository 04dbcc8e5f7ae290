"""What brings queued jobs to an instance that runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.jobs.record import JobRecord
from app.jobs.store import Stored

UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What a queue is set to. `max_attempts` -1 and `max_retry_seconds` 0 mean no limit."""

    max_concurrent_dispatches: int
    max_dispatches_per_second: float
    max_attempts: int
    max_retry_seconds: float


class JobQueue(Protocol):
    """Delivers each submitted job at least once, until it has ended."""

    def submit(self, stored: Stored) -> None:
        """Deliver the job. Submitting it again is safe. Raises QueueFailed."""

    def holds(self, record: JobRecord) -> bool:
        """Whether the job will be delivered. Raises QueueFailed."""

    def withdraw(self, record: JobRecord) -> None:
        """The job has ended before it was delivered, or is gone. Failing to tell is no error."""

    def call_later(self, path: str, action: Callable[[], None], seconds: float) -> None:
        """Have `path` of the service posted to after about so many seconds, or, where no queue
        calls it, `action` called. Of several calls for one path within these seconds one may stand
        for all. Raises QueueFailed.
        """

    def limits(self) -> QueueLimits | None:
        """None where there are none, or where this service may not see them."""
