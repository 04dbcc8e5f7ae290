"""Loads a model ahead of the jobs that call it."""

import logging

from app.concurrency.deadline import StopSignal
from app.config.job_spec import JobSpec
from app.job.context import JobContext
from app.job.served_model import borrowed_model, served_by, supervised_server
from app.job.warming_up import has_warm_up, warm_up
from app.savedmodel.find_model import find_model
from app.serving.error_translation import model_server_errors
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections
from app.telemetry.progress import LoggedProgress

logger = logging.getLogger(__name__)


def load_model(
    spec: JobSpec,
    *,
    settings: Settings,
    connections: Connections,
    models: ModelCache,
    stop_signal: StopSignal,
    reserve: bool = False,
) -> None:
    """Load the model of a job, warm it up as the job would, and leave it in `models`.

    With `reserve` it stays there for one job. Neither inputs nor the output are looked at. Raises
    JobError.
    """
    job = JobContext.begin(
        spec,
        job_id="load-model",
        settings=settings,
        connections=connections,
        models=models,
        progress=LoggedProgress(),
        stop_signal=stop_signal,
    )
    with job.ending_its_threads(), model_server_errors(job.deadline):
        model = job.deadline.run(find_model, spec.model, job.model_storage)
        with (
            borrowed_model(job, model, reserve=reserve) as loaded,
            supervised_server(job, model, loaded) as server,
        ):
            if has_warm_up(job):
                warm_up(job, served_by(job, server, loaded))
    seconds = ", ".join(f"{name} {value:.3f} s" for name, value in job.stopwatch.seconds().items())
    logger.info("%s is loaded, version %s: %s", spec.model, model.version, seconds)
