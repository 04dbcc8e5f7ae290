"""The context that the steps of one job share."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.concurrency.deadline import Deadline, StopSignal
from app.config.job_spec import JobSpec
from app.errors import Aborted, InvalidInstance, InvalidModel, JobError, UnsupportedInput
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections, Storage
from app.telemetry.progress import Progress
from app.telemetry.report import FilesDone, Stopwatch, log_fields

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """The parameters of a job, its resources, and its progress.

    `writer_id` marks the outputs that all runs of this job have written. `model_storage` reads the
    model: it may lie where nothing else may be read, if it is the instance's own.
    """

    job_id: str
    writer_id: str
    spec: JobSpec
    settings: Settings
    storage: Storage
    model_storage: Storage
    models: ModelCache
    deadline: Deadline
    progress: Progress
    done: FilesDone = field(default_factory=FilesDone)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @classmethod
    def begin(
        cls,
        spec: JobSpec,
        *,
        job_id: str,
        writer_id: str | None = None,
        settings: Settings,
        connections: Connections,
        models: ModelCache,
        progress: Progress,
        stop_signal: StopSignal | None,
    ) -> "JobContext":
        """Create the context; the job's timeout starts now."""
        # A signal of its own, so that the end of the job stops its threads, too.
        signal = StopSignal(above=stop_signal)
        deadline = Deadline.after(_timeout_seconds(spec, settings), signal)
        storage = Storage(
            connections=connections,
            deadline=deadline,
            limits=settings.transfer_limits(),
            local_roots=settings.local_roots,
            allowed_uri_prefixes=settings.allowed_uri_prefixes,
            reserved=settings.own_folders(),
        )
        return cls(
            job_id=job_id,
            writer_id=writer_id or job_id,
            spec=spec,
            settings=settings,
            storage=storage,
            model_storage=storage.unrestricted() if spec.model == settings.model else storage,
            models=models,
            deadline=deadline,
            progress=progress,
        )

    @contextmanager
    def ending_its_threads(self) -> Iterator[None]:
        """When the block ends, all that still runs for the job ends at its next check."""
        try:
            yield
        finally:
            self.deadline.stop_signal.stop(Aborted("the job has ended"))

    @contextmanager
    def adding_what_is_done_to_errors(self) -> Iterator[None]:
        """Add the report so far to the error that ends the job."""
        try:
            yield
        except JobError as error:
            seconds, storage_requests = self.stopwatch.seconds(), self.storage.requests()
            error.details.update(self.done.so_far(self.job_id, seconds, storage_requests))
            error.job_fields = self._fields(error)
            if isinstance(error, InvalidInstance | UnsupportedInput | InvalidModel):
                error.details["inspect"] = (
                    f"embedded-tf inspect {shlex.quote(str(self.spec.model))}"
                )
            raise

    def _fields(self, error: JobError) -> dict[str, Any]:
        """The fields of the log record at the job's end."""
        return {
            "state": "FAILED",
            "code": error.code,
            "status": error.status,
            "model": str(self.spec.model),
            "model_version": self.done.model_version,
            "signature_name": self.done.signature_name or self.spec.signature_name,
            "inputs": list(map(str, self.spec.inputs)),
            "output": str(self.spec.output),
            **log_fields(error.details),
        }

    @contextmanager
    def phase(self, name: str, sentence: str) -> Iterator[None]:
        """Report a phase, and record its duration under `name`."""
        self.progress.phase(sentence)
        with self.stopwatch.phase(name):
            yield


def _timeout_seconds(spec: JobSpec, settings: Settings) -> float:
    """The requested timeout, capped by the instance's limit."""
    most = settings.job_timeout_seconds
    if spec.timeout_seconds is None:
        return most
    if spec.timeout_seconds > most:
        logger.warning(
            "timeout_seconds is %g, and JOB_TIMEOUT_SECONDS caps it at %g",
            spec.timeout_seconds,
            most,
        )
    return min(spec.timeout_seconds, most)
