"""run_job(): the whole story of a job."""

import os
import sys
import tempfile
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from app.batches import BatchLimits
from app.deadline import Deadline
from app.instances import fixed_batch_size
from app.job_spec import JobSpec
from app.model import drop_variables, fetch_model, find_model
from app.pipeline import Pipeline
from app.plan import plan_files
from app.predict_file import Streaming, predict_file
from app.predictions import check_outputs
from app.progress import Progress
from app.read_ahead import InputsAhead
from app.report import Report, Stopwatch
from app.server_errors import model_server_errors
from app.settings import MEBIBYTE, Settings
from app.storage import Storage
from tfserving_launcher import ModelServer, ServerOptions, Signature

# Where the caller leaves the batch size to us: large enough to make a call's own cost vanish,
# small enough that a few batches in flight stay far below the memory of the smallest instance.
ROWS_PER_BATCH = 4096
BYTES_PER_BATCH = 1 * MEBIBYTE
# A batch size that was asked for is bounded as well.
_MOST_ROWS_PER_BATCH = 32 * 1024
_MOST_BYTES_PER_BATCH = 8 * MEBIBYTE

_CREDENTIAL_PREFIXES = ("GOOGLE_", "GCLOUD_", "CLOUDSDK_", "AWS_")


def run_job(
    spec: JobSpec,
    *,
    job_id: str,
    settings: Settings,
    storage: Storage,
    progress: Progress,
    stopped: threading.Event | None = None,
) -> Report:
    """Brings the model in, starts a server for it, predicts file by file, tears all down.

    `stopped` ends the job from outside. Raises JobError; files that were complete by then stay.
    """
    deadline = Deadline.after(spec.timeout_seconds or settings.job_timeout_seconds, stopped)
    watch = Stopwatch()
    with ExitStack() as stack:
        stack.enter_context(model_server_errors(deadline))
        folder = stack.enter_context(_folder())
        tasks = deadline.run(partial(plan_files, spec, storage))
        progress.total(files=len(tasks), size=sum(task.input.size for task in tasks))
        inputs = InputsAhead(tasks, storage, stack.enter_context(Pipeline(deadline)))
        progress.phase(f"fetching the model {spec.model}")
        with watch.phase("model_download"):
            model = deadline.run(partial(find_model, spec.model, storage))
            version_dir = deadline.run(
                partial(fetch_model, model, storage, Path(folder), deadline.remaining)
            )
        progress.phase(f"starting a model server for version {model.version}")
        with watch.phase("server_start"):
            server = stack.enter_context(ModelServer(version_dir, _options(settings, deadline)))
            signature = server.signature(spec.signature_name)
            streaming = _streaming(spec, signature, settings)
            if not settings.keep_variables:
                drop_variables(model, version_dir)
        progress.phase("predicting")
        with watch.phase("predict"):
            files = [
                predict_file(
                    task,
                    blocks,
                    server,
                    signature,
                    storage=storage,
                    streaming=streaming,
                    progress=progress,
                    deadline=deadline,
                )
                for task, blocks in inputs
            ]
    return Report(
        job_id=job_id,
        model=str(spec.model),
        model_version=model.version,
        signature_name=signature.name,
        input=str(spec.input),
        output=str(spec.output),
        files=tuple(files),
        seconds=watch.seconds(),
    )


def _folder() -> tempfile.TemporaryDirectory[str]:
    # A copy that was given up may still write; that must not take the place of the job's own error.
    return tempfile.TemporaryDirectory(prefix="embedded-tf-", ignore_cleanup_errors=True)


def _options(settings: Settings, deadline: Deadline) -> ServerOptions:
    return ServerOptions(
        start_timeout_seconds=min(settings.start_timeout_seconds, deadline.remaining()),
        call_timeout_seconds=settings.call_timeout_seconds,
        check_while_waiting=deadline.remaining,
        # A SavedModel is a program: it is not handed this service's credentials.
        environment={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_CREDENTIAL_PREFIXES)
        },
    )


def _streaming(spec: JobSpec, signature: Signature, settings: Settings) -> Streaming:
    """Raises BadModel where the signature cannot be called with JSON lines."""
    check_outputs(signature)
    fixed = fixed_batch_size(signature)
    if fixed is not None:
        # The model takes nothing else, however many bytes that is.
        limits = BatchLimits(max_rows=fixed, max_bytes=sys.maxsize)
    elif spec.batch_size is not None:
        limits = BatchLimits(
            max_rows=min(spec.batch_size, _MOST_ROWS_PER_BATCH), max_bytes=_MOST_BYTES_PER_BATCH
        )
    else:
        limits = BatchLimits(max_rows=ROWS_PER_BATCH, max_bytes=BYTES_PER_BATCH)
    return Streaming(
        limits=limits,
        padded_rows=fixed,
        max_line_bytes=settings.max_line_bytes,
        call_timeout_seconds=settings.call_timeout_seconds,
    )
