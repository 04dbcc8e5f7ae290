"""What brings queued jobs to an instance that runs them."""

from typing import Protocol

from app.jobs.record import JobRecord
from app.jobs.store import Stored


class JobQueue(Protocol):
    """Delivers each submitted job at least once, until it has ended."""

    def submit(self, stored: Stored) -> None:
        """Deliver the job. Submitting it again is safe. Raises QueueFailed."""

    def withdraw(self, record: JobRecord) -> None:
        """The job has ended before it was delivered, or is gone. Failing to tell is no error."""
