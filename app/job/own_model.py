"""MODEL: the model that an instance loads before it is ready, and keeps."""

import logging
from collections.abc import Mapping
from typing import Any

from app.concurrency.deadline import StopSignal
from app.config.job_spec import JobSpec, WarmUp
from app.errors import PermissionDenied
from app.job.context import JobContext
from app.job.served_model import borrowed_model, served_by, supervised_server
from app.job.warming_up import warm_up
from app.savedmodel.find_model import find_model
from app.serving.error_translation import model_server_errors
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections
from app.telemetry.progress import LoggedProgress

logger = logging.getLogger(__name__)


def with_own_model(parameters: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The parameters of a job, with MODEL for a model that they leave out."""
    if settings.model is None or parameters.get("model") not in (None, ""):
        return dict(parameters)
    return {**parameters, "model": str(settings.model)}


def check_model_is_served(spec: JobSpec, settings: Settings) -> None:
    """Raise PermissionDenied for a model that ONLY_MODEL excludes."""
    if settings.only_model and spec.model != settings.model:
        raise PermissionDenied(
            f"model: {spec.model}: this instance serves only {settings.model}, as ONLY_MODEL says;"
            " name that one, or leave model out"
        )


def load_own_model(
    settings: Settings, connections: Connections, models: ModelCache, stop_signal: StopSignal
) -> None:
    """Load MODEL, warm it up, and leave it in `models`. Raises JobError."""
    assert settings.model is not None
    path = settings.warm_up_data_path
    job = JobContext.begin(
        # A job without inputs, whose output is never used.
        JobSpec(
            model=settings.model,
            inputs=(),
            output=settings.model,
            warm_up=None if path is None else WarmUp(path, settings.warm_up_count),
        ),
        job_id="load-model",
        settings=settings,
        connections=connections,
        models=models,
        progress=LoggedProgress(),
        stop_signal=stop_signal,
    )
    with job.ending_its_threads(), model_server_errors(job.deadline):
        model = job.deadline.run(find_model, settings.model, job.model_storage)
        with (
            borrowed_model(job, model) as loaded,
            supervised_server(job, model, loaded) as server,
        ):
            if job.spec.warm_up is not None:
                warm_up(job, served_by(job, server, loaded), job.model_storage)
    seconds = ", ".join(f"{name} {value:.3f} s" for name, value in job.stopwatch.seconds().items())
    logger.info("%s is loaded, version %s: %s", settings.model, model.version, seconds)
