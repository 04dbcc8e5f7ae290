"""MODEL: the model that an instance loads before it is ready, and keeps."""

from collections.abc import Mapping
from typing import Any

from app.concurrency.deadline import StopSignal
from app.config.job_spec import JobSpec, spec_of_model
from app.errors import PermissionDenied
from app.job.load_model import load_model
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections


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
    load_model(
        spec_of_model(settings.model),
        settings=settings,
        connections=connections,
        models=models,
        stop_signal=stop_signal,
    )
