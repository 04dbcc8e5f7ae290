"""What requests share: settings, storage, the lock of the running job, and jobs that last."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import current_app

from app.config.job_spec import JobSpec, parse_job_spec
from app.errors import FailedPrecondition, JobError, ShuttingDown
from app.instance.workspace import sweep
from app.job.own_model import check_model_is_served, with_own_model
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

    def parse(self, parameters: Mapping[str, Any]) -> JobSpec:
        """The job that a call describes. Raises InvalidArgument or PermissionDenied."""
        spec = parse_job_spec(with_own_model(parameters, self.settings))
        check_model_is_served(spec, self.settings)
        return spec

    def start(self, on_failure: Callable[[], None]) -> None:
        """Load MODEL, if there is one, and then run the jobs that wait.

        Calls `on_failure` if it cannot be loaded: the instance is of no use then.
        """
        if self.settings.model is None:
            self._take_jobs()
            return
        loading = partial(self._load_and_take_jobs, on_failure)
        threading.Thread(target=loading, name="load-model", daemon=True).start()

    def _load_and_take_jobs(self, on_failure: Callable[[], None]) -> None:
        try:
            self.runner.load_own_model()
        except ShuttingDown:
            return
        except JobError as error:
            logger.critical("MODEL cannot be loaded, so the instance ends: %s", error)
            on_failure()
        except BaseException:
            logger.critical("MODEL cannot be loaded, so the instance ends", exc_info=True)
            on_failure()
            raise
        else:
            self._take_jobs()

    def _take_jobs(self) -> None:
        if self._jobs is not None and self._jobs.instance_queue is not None:
            self._jobs.instance_queue.start()

    def end(self) -> None:
        """End the running job and all later ones. Safe in signal handlers."""
        self.runner.end()

    def close(self) -> None:
        """Wait a moment until the end of the running job is recorded; stop kept servers."""
        if self._jobs is not None and self._jobs.instance_queue is not None:
            self._jobs.instance_queue.stop()
        self.runner.close()


def the_service() -> Service:
    """The service of the running request."""
    service: Service = current_app.extensions["service"]
    return service
