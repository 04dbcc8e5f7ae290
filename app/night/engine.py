"""What runs the jobs of a run."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from app.errors import JobError
from app.jobs.record import JobRecord

Begun = Callable[[str], None]
Changed = Callable[[JobRecord], None]


class Engine(Protocol):
    """Runs jobs somewhere, each at most once at a time. `errors` have ended it early."""

    errors: list[JobError]

    def running(
        self, drafts: Sequence[JobRecord], *, begun: Begun, changed: Changed
    ) -> AbstractContextManager[list[threading.Thread]]:
        """Run the jobs while the block waits for the threads that it is given.

        `drafts` are their records as they are when they are new, in the order to run them. Calls
        `begun` with the id of each job that begins, and `changed` with the record of each that has
        got further or ended, from those threads. The end of the block ends the threads, whatever
        they are doing.
        """

    def begin_no_more(self) -> None:
        """Let running jobs end, and begin no others."""
