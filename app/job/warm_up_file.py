"""Writes and checks TF Serving's own warm-up file in a SavedModel.

It is `assets.extra/tf_serving_warmup_requests` in the version's folder: a TFRecord file of
PredictionLogs, which every TF Serving replays while it loads the model.
Source: tensorflow.org/tfx/serving/saved_model_warmup.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from app.config.job_spec import spec_of_model
from app.errors import NotFound, WarmUpFailed
from app.framing.tfrecord import frame
from app.job.context import JobContext
from app.job.served_model import borrowed_model, served_by, supervised_server
from app.job.warming_up import of_size, read_requests
from app.savedmodel.fetch_model import fetch_model
from app.savedmodel.find_model import find_model
from app.savedmodel.model_files import ModelFiles
from app.serving.environment import server_environment
from app.serving.error_translation import model_server_errors, without_own_paths
from app.serving.model_cache import ModelCache
from app.serving.warm_up_requests import WARM_UP_FILE, WarmUpRequest, parse_requests
from app.settings import Settings
from app.storage import Connections, ContentType, Location
from app.telemetry.progress import Progress
from tfserving_launcher import ModelLoadError, ModelServer, PredictError
from tfserving_launcher.protos import PredictionLog
from tfserving_launcher.tensors import to_proto

_CONTENT = ContentType("application/octet-stream")
_NO_REPLAY = "--enable_model_warmup=false"


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Milliseconds of the first call, and of the median of the later ones (None: there is none)."""

    first: float
    later: float | None


def make_warm_up_file(
    model: Location,
    rows: Location,
    *,
    signature_name: str | None,
    most_requests: int,
    settings: Settings,
    connections: Connections,
    progress: Progress,
) -> tuple[Location, int]:
    """Write the first rows of a file of instances into a model, each as a request.

    Returns where the file is, and the number of its requests. A model server has loaded the model
    with it before it appears. Raises JobError.
    """
    with loading(model, signature_name, settings, connections, progress) as (job, found):
        requests = requests_of(job, found, rows, most_requests)
        content = b"".join(frame(_log(request)) for request in requests)
        target = found.folder.below(WARM_UP_FILE)
        _check_that_it_loads(job, found, content)
        existing = job.storage.find(target)
        with job.storage.create(target, existing, content=_CONTENT) as writer:
            writer.write(content)
            writer.finish({})
    return target, len(requests)


def check_warm_up_file(
    model: Location, *, settings: Settings, connections: Connections, progress: Progress
) -> dict[str, CallTimes]:
    """The milliseconds of the requests in the model's own warm-up file.

    The keys say of which server: `without` one that has not replayed the file, `with` one that has.
    Raises NotFound if there is no such file, and JobError.
    """
    with loading(model, None, settings, connections, progress) as (job, found):
        location = found.folder.below(WARM_UP_FILE)
        loaded = job.storage.load(location)
        if loaded is None:
            raise NotFound(f"warm-up: nothing at {location}")
        requests = list(parse_requests(loaded.content, str(location)))
        if not requests:
            raise WarmUpFailed(f"warm-up: {location} holds no request")
        with TemporaryDirectory(prefix="embedded-tf-") as folder:
            version_dir = fetch_model(found, job.storage, Path(folder), job.deadline.remaining)
            return {
                "without": _call_times(job, version_dir, requests, (_NO_REPLAY,)),
                "with": _call_times(job, version_dir, requests, ()),
            }


@dataclass(frozen=True, slots=True)
class TimedServer:
    """A server, and the seconds of its start."""

    server: ModelServer
    load_seconds: float


@contextmanager
def loading(
    model: Location,
    signature_name: str | None,
    settings: Settings,
    connections: Connections,
    progress: Progress,
) -> Iterator[tuple[JobContext, ModelFiles]]:
    """The model, and a job without inputs or output in whose time all is done."""
    job = JobContext.begin(
        spec_of_model(model, signature_name),
        job_id="warm-up",
        # Whoever sits at the command line may use files as the system lets them. The variables are
        # loaded twice.
        settings=replace(settings, local_roots=None, keep_variables=True),
        connections=connections,
        models=ModelCache(),
        progress=progress,
        stop_signal=None,
    )
    with job.ending_its_threads(), model_server_errors(job.deadline):
        yield job, job.deadline.run(find_model, model, job.storage)


def requests_of(
    job: JobContext, found: ModelFiles, rows: Location, most: int
) -> list[WarmUpRequest]:
    """The first rows of a file, each as a request to the model."""
    file = job.storage.find(rows)
    if file is None:
        raise NotFound(f"rows: nothing at {rows}")
    with (
        borrowed_model(job, found) as loaded,
        # The model may have a warm-up file that is to be mended.
        supervised_server(job, found, loaded, (_NO_REPLAY,)) as server,
    ):
        return read_requests(job, served_by(job, server, loaded), file, job.storage, most=most)


def _log(request: WarmUpRequest) -> bytes:
    log = PredictionLog()
    message = log.predict_log.request
    message.model_spec.signature_name = request.signature_name
    message.output_filter.extend(request.output_filter)
    for name, array in of_size(request.tensors, request.rows).items():
        message.inputs[name].CopyFrom(to_proto(array))
    serialized: bytes = log.SerializeToString()
    return serialized


def _check_that_it_loads(job: JobContext, found: ModelFiles, content: bytes) -> None:
    """Load a copy of the model that has the file, so that a bad one never appears."""
    with TemporaryDirectory(prefix="embedded-tf-") as folder:
        source = fetch_model(found, job.storage, Path(folder), job.deadline.remaining)
        copy = Path(folder, "copy", source.name)
        for path in source.rglob("*"):
            name = path.relative_to(source)
            if path.is_file() and str(name) != WARM_UP_FILE:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).symlink_to(path.resolve())
        (copy / WARM_UP_FILE).parent.mkdir(parents=True, exist_ok=True)
        (copy / WARM_UP_FILE).write_bytes(content)
        try:
            with timed_server(job, copy):
                pass
        except ModelLoadError as error:
            raise WarmUpFailed(
                f"warm-up: the model does not load with these requests:"
                f" {without_own_paths(error.reason)}"
            ) from None


def _call_times(
    job: JobContext,
    version_dir: Path,
    requests: Sequence[WarmUpRequest],
    arguments: tuple[str, ...],
) -> CallTimes:
    milliseconds = []
    with timed_server(job, version_dir, arguments) as timed:
        # Twice, so that there are later calls for a single request, too.
        for number, request in enumerate([*requests, *requests], 1):
            started = time.monotonic()
            try:
                timed.server.predict(
                    request.tensors,
                    signature_name=request.signature_name,
                    output_filter=request.output_filter,
                    timeout_seconds=job.deadline.remaining(),
                )
            except PredictError as error:
                raise WarmUpFailed(f"warm-up: request {number}: {error}") from None
            milliseconds.append(1000 * (time.monotonic() - started))
    first, *later = milliseconds
    return CallTimes(first, sorted(later)[len(later) // 2] if later else None)


@contextmanager
def timed_server(
    job: JobContext, version_dir: Path, arguments: tuple[str, ...] = ()
) -> Iterator[TimedServer]:
    """A server of the version folder while the block runs, started with more `arguments`."""
    folder = version_dir.parent
    started = time.monotonic()
    with ModelServer(
        version_dir,
        start_timeout_seconds=min(job.settings.start_timeout_seconds, job.deadline.remaining()),
        call_timeout_seconds=job.settings.call_timeout_seconds,
        check_while_waiting=job.deadline.remaining,
        environment=server_environment(os.environ, job.settings.server_environment, folder),
        confine=job.settings.confine_model,
        extra_arguments=arguments,
    ) as server:
        yield TimedServer(server, time.monotonic() - started)
