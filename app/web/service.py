"""What requests share: settings, storage, the lock of the running job, and jobs that last."""

import logging

from flask import current_app

from app.errors import FailedPrecondition, JobError
from app.instance.workspace import sweep
from app.job.runner import JobRunner
from app.jobs.opening import open_jobs
from app.jobs.operations import JobOperations
from app.night.run_operations import RunOperations
from app.settings import Settings
from app.storage import Connections
from tfserving_launcher import ProgramNotFound, find_program

_NO_RECORDS = "this instance keeps no records of jobs: JOBS_URI is not set. Call / and wait"

logger = logging.getLogger(__name__)


class Service:
    """One instance of the service."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = Connections(settings.project)
        self.runner = JobRunner(settings, self.connections)
        self._jobs = open_jobs(settings, self.connections, self.runner)

    @property
    def jobs(self) -> JobOperations:
        """Raises FailedPrecondition if the instance keeps no records."""
        if self._jobs is None:
            raise FailedPrecondition(_NO_RECORDS)
        return self._jobs.operations

    @property
    def runs(self) -> RunOperations:
        """Raises FailedPrecondition if the instance keeps no reports, or no records."""
        if self._jobs is None:
            raise FailedPrecondition(_NO_RECORDS)
        return RunOperations(self.settings, self.connections, self._jobs.queue)

    def warm_up(self) -> None:
        """Prepare in the background what the first job needs.

        The first job retries what fails here, and reports it.
        """
        for step in (sweep, self.connections.warm_up, find_program):
            try:
                step()
            except (JobError, ProgramNotFound) as error:
                logger.warning("%s", error)

    def start(self) -> None:
        """Begin to run jobs that wait, where no queue delivers them."""
        if self._jobs is not None and self._jobs.instance_queue is not None:
            self._jobs.instance_queue.start()

    def end(self) -> None:
        """End the running job and all later ones. Safe in signal handlers."""
        self.runner.end()

    def close(self) -> None:
        """Wait a moment until the end of the running job is recorded."""
        if self._jobs is not None and self._jobs.instance_queue is not None:
            self._jobs.instance_queue.stop()


def the_service() -> Service:
    """The service of the running request."""
    service: Service = current_app.extensions["service"]
    return service
