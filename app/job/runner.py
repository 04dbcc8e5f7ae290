"""Runs the jobs of this instance: one at a time, each in a clean instance."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson

from app.concurrency.deadline import StopSignal
from app.config.job_spec import JobSpec, spec_of_model
from app.errors import Busy, JobError, NotReady, ShuttingDown
from app.instance.ending import Instance
from app.instance.heap import give_back_free_memory, give_back_free_memory_soon
from app.instance.private_folders import PrivateFolders
from app.job.load_model import load_model
from app.job.own_model import load_own_model
from app.job.run import run_job
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections
from app.telemetry.log import JOB_FIELDS
from app.telemetry.progress import Progress
from app.telemetry.report import Report, log_fields

_JOIN_SECONDS = 5.0

logger = logging.getLogger(__name__)


class JobRunner:
    """The lock of the running job, and what it needs. `instance` is set by the program.

    `not_ready` says why the instance takes no jobs yet; it is empty once it does.
    """

    def __init__(self, settings: Settings, connections: Connections) -> None:
        self.settings = settings
        self.connections = connections
        self.models = ModelCache(settings.keep_models, settings.keep_models_bytes)
        self.instance = Instance(PrivateFolders(), end=lambda: None)
        self.not_ready = (
            "" if settings.model is None else f"the instance is loading {settings.model}"
        )
        self._running = threading.Lock()
        self._stop_signal = StopSignal()
        self._prepare_signal = StopSignal()
        self._preparing: threading.Thread | None = None
        self._ending: JobError | None = None

    @property
    def is_busy(self) -> bool:
        return self._running.locked()

    @property
    def is_ending(self) -> bool:
        return self._ending is not None

    @contextmanager
    def alone(self, *, wait_seconds: float = 0.0) -> Iterator[StopSignal]:
        """No other job runs while the block does. Gives the signal that stops its job.

        If the instance is ending, the signal is set already. Raises NotReady before the first job
        may run, and Busy if another one is still running after `wait_seconds`.
        """
        if self.not_ready:
            raise NotReady(self.not_ready)
        if not self._running.acquire(blocking=wait_seconds > 0, timeout=wait_seconds or -1):
            raise Busy("another job is running in this instance; it takes one at a time")
        self._stop_signal = StopSignal()
        if self._ending is not None:
            self._stop_signal.stop(self._ending)
        try:
            yield self._stop_signal
        finally:
            self._running.release()

    def run(
        self,
        spec: JobSpec,
        *,
        job_id: str,
        writer_id: str | None = None,
        progress: Progress,
        stop_signal: StopSignal,
        settings: Settings | None = None,
    ) -> Report:
        """Run a job within `alone`, and clean the instance. Raises JobError.

        `settings` may differ from those of the instance.
        """
        try:
            with self._errors_as_seen_by_callers():
                report = run_job(
                    spec,
                    job_id=job_id,
                    writer_id=writer_id,
                    settings=settings or self.settings,
                    connections=self.connections,
                    models=self.models,
                    progress=progress,
                    stop_signal=stop_signal,
                )
        finally:
            if not self.instance.freshen(spared=self.models.folders):
                self.end()
            give_back_free_memory()
            give_back_free_memory_soon()
            if self.settings.model is not None and not self.models.holds_pinned:
                # The server was of no more use after this job. The next one need not wait for it.
                self.prepare(spec_of_model(self.settings.model))
        fields = log_fields(report.as_json())
        seconds = orjson.dumps(fields["seconds"]).decode()
        logger.info("job succeeded: %s", seconds, extra={JOB_FIELDS: fields})
        return report

    def load_own_model(self) -> None:
        """Load MODEL, before any job may run. Raises JobError."""
        with self._errors_as_seen_by_callers():
            load_own_model(self.settings, self.connections, self.models, self._stop_signal)
        self.not_ready = ""

    def prepare(self, spec: JobSpec) -> None:
        """Load the model of the next job in the background.

        Whatever fails is left to the job itself to tell.
        """
        if self._ending is not None:
            return
        if self._preparing is not None and self._preparing.is_alive():
            return
        self._preparing = threading.Thread(
            target=self._prepare, args=(replace(spec, warm_up=None),), name="prepare", daemon=True
        )
        self._preparing.start()

    def _prepare(self, spec: JobSpec) -> None:
        try:
            load_model(
                spec,
                settings=self.settings,
                connections=self.connections,
                models=self.models,
                stop_signal=self._prepare_signal,
                reserve=spec.model != self.settings.model,
            )
        except JobError as error:
            logger.info("%s is not loaded ahead: %s", spec.model, error)

    def close(self) -> None:
        """Stop the kept model servers."""
        self._prepare_signal.stop(ShuttingDown("the instance is shutting down"))
        if self._preparing is not None:
            self._preparing.join(_JOIN_SECONDS)
        self.models.close()

    def end(self) -> None:
        """End the running job and all later ones. Safe in signal handlers."""
        self._ending = ShuttingDown("the instance is shutting down; the job was stopped")
        self._stop_signal.stop(self._ending)
        self._prepare_signal.stop(self._ending)

    def as_seen_by_callers(self, error: Exception) -> Exception:
        """Translate a job's error into ShuttingDown if the instance is ending.

        During shutdown a job fails in many ways: pools are closed, the model server is gone. Errors
        that the caller caused stay.
        """
        if self._ending is None or (isinstance(error, JobError) and error.code < 500):
            return error
        details = error.details if isinstance(error, JobError) else {}
        return ShuttingDown(self._ending.message, details)

    @contextmanager
    def _errors_as_seen_by_callers(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            told = self.as_seen_by_callers(error)
            if told is error:
                raise
            logger.warning("while the instance is shutting down: %s", error, exc_info=error)
            raise told from error
