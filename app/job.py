"""run_job(): the whole story of a job."""

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

from app.answer_size import AnswerSize
from app.bad_rows import BadRows
from app.batches import BatchLimits
from app.deadline import Deadline, StopSignal
from app.errors import (
    BadRow,
    JobError,
    ModelFailed,
    NoGoodRows,
    TooLarge,
    TooManyBadRows,
    TransferBroken,
    UnsupportedInput,
)
from app.file_output import FileOutput
from app.find_model import find_model
from app.formats.opened import open_reader
from app.job_folder import job_folder
from app.job_spec import JobSpec
from app.lasting_server import LastingServer
from app.model import check_model_fits, drop_variables, fetch_model
from app.model_files import ModelFiles
from app.pipeline import Pipeline
from app.plan import FileTask, check_places, plan_files
from app.predict_batch import ModelAnswers
from app.predict_file import Streaming, predict_file
from app.prediction_writers import prediction_writer
from app.progress import Progress
from app.read_ahead import InputsAhead
from app.report import FileReport, FilesDone, Report, Stopwatch
from app.reuse import reuse
from app.server_environment import server_environment
from app.server_errors import model_server_errors
from app.settings import MEBIBYTE, Settings
from app.signatures import check_inputs, check_outputs, fixed_batch_size
from app.storage import Connections, Storage
from tfserving_launcher import ModelServer, Signature
from tfserving_launcher.parse_spec import SAVED_MODEL_FILE, FeatureTypes, read_parse_spec

# Where the caller leaves the batch size to us: large enough to make a call's own cost vanish,
# small enough that a few batches in flight stay far below the memory of the smallest instance.
ROWS_PER_BATCH = 4096
BYTES_PER_BATCH = 1 * MEBIBYTE
# A batch size that was asked for is bounded as well.
_MOST_ROWS_PER_BATCH = 32 * 1024
_MOST_BYTES_PER_BATCH = 8 * MEBIBYTE
# An instance that is told to end has ten seconds for all that the job has begun.
_STOP_GRACE_SECONDS = 1.0
# How often a file is begun whose content came damaged, or whose upload was lost.
_FILE_ATTEMPTS = 3

logger = logging.getLogger(__name__)


def run_job(
    spec: JobSpec,
    *,
    job_id: str,
    settings: Settings,
    connections: Connections,
    progress: Progress,
    stop_signal: StopSignal | None = None,
) -> Report:
    """Brings the model in, starts a server for it, predicts file by file, tears all down.

    Outputs that are there already, of the same model, input and parameters, stay as they are.
    `stop_signal` ends the job from outside. Raises JobError, whose details tell which files are
    complete; those stay, of the others there is nothing.
    """
    deadline = Deadline.after(_timeout_seconds(spec, settings), stop_signal)
    storage = _storage(settings, connections, deadline)
    watch = Stopwatch()
    done = FilesDone()
    with ExitStack() as stack:
        stack.enter_context(_telling_what_is_done(job_id, done, watch))
        stack.enter_context(model_server_errors(deadline))
        folder = stack.enter_context(job_folder())
        check_places(spec, storage)
        model = deadline.run(partial(find_model, spec.model, storage))
        plan_all = partial(plan_files, spec, storage, model.files, settings, deadline.remaining)
        plan = deadline.run(plan_all)
        done.expect(len(plan.tasks), left_out=plan.left_out)
        missing = plan.tasks
        if not spec.force:
            missing = deadline.run(partial(reuse, plan.tasks, done, storage))
        progress.total(files=len(missing), size=sum(task.input.size for task in missing))
        if missing:
            check_model_fits(model, folder, settings.model_memory_bytes)
            inputs = InputsAhead(missing, storage, stack.enter_context(Pipeline(deadline)))
            progress.phase(f"fetching the model {spec.model}")
            fetch = partial(fetch_model, model, storage, folder, deadline.remaining)
            with watch.phase("model_download"):
                version_dir = deadline.run(fetch)
            progress.phase(f"starting a model server for version {model.version}")
            with watch.phase("server_start"):
                server = stack.enter_context(
                    LastingServer(
                        partial(_launch, fetch, folder, settings, deadline),
                        loaded=partial(_loaded, model, version_dir, settings),
                        restarts=settings.server_restarts,
                        call_timeout_seconds=settings.call_timeout_seconds,
                        deadline=deadline,
                    )
                )
                signature = server.signature(spec.signature_name)
                streaming = _streaming(spec, signature, settings)
                # Only some readers need it, and those after the model is loaded.
                parse_spec = cache(
                    partial(read_parse_spec, version_dir / SAVED_MODEL_FILE, spec.signature_name)
                )
                _check_readable(spec, missing, signature, storage, parse_spec)
            progress.phase("predicting")
            with watch.phase("predict"):
                for task, blocks in inputs:
                    output = FileOutput(task, storage, job_id)
                    predict = partial(
                        predict_file,
                        task,
                        server=server,
                        open_reader=partial(
                            open_reader,
                            task,
                            signature,
                            spec,
                            storage=storage,
                            max_line_bytes=settings.max_line_bytes,
                            parse_spec=parse_spec,
                        ),
                        output=output,
                        streaming=streaming,
                        progress=progress,
                        deadline=deadline,
                    )
                    done.add(_until_whole(predict, blocks, partial(inputs.read, task), output))
        _check_any_prediction(done.reports())
    return Report(
        job_id=job_id,
        model=str(spec.model),
        model_version=model.version,
        signature_name=spec.signature_name,
        inputs=tuple(map(str, spec.inputs)),
        output=str(spec.output),
        files=done.reports(),
        files_left_out=plan.left_out,
        seconds=watch.seconds(),
    )


def _check_any_prediction(files: Iterable[FileReport]) -> None:
    """Raises NoGoodRows where there were rows, and none of them could be predicted."""
    instances = sum(file.instances for file in files)
    if instances == 0 or any(file.predictions for file in files):
        return
    first = next(file for file in files if file.errors)
    raise NoGoodRows(
        f"none of the {instances} rows could be predicted; {first.errors_output} has the bad rows"
        f" of {first.input}"
    )


def _timeout_seconds(spec: JobSpec, settings: Settings) -> float:
    """The instance's own limit holds whatever a call asks for."""
    most = settings.job_timeout_seconds
    if spec.timeout_seconds is None:
        return most
    if spec.timeout_seconds > most:
        logger.warning(
            "timeout_seconds is %g, JOB_TIMEOUT_SECONDS is %g and holds", spec.timeout_seconds, most
        )
    return min(spec.timeout_seconds, most)


def _storage(settings: Settings, connections: Connections, deadline: Deadline) -> Storage:
    return Storage(
        connections=connections,
        deadline=deadline,
        retry_seconds=settings.storage_retry_seconds,
        silence_seconds=settings.storage_silence_seconds,
        local_roots=settings.local_roots,
        allowed_uri_prefixes=settings.allowed_uri_prefixes,
    )


@contextmanager
def _telling_what_is_done(job_id: str, done: FilesDone, watch: Stopwatch) -> Iterator[None]:
    """The error that ends a job says how far it came."""
    try:
        yield
    except JobError as error:
        error.details.update(done.so_far(job_id, watch.seconds()))
        raise


def _launch(
    fetch: Callable[[], Path], folder: Path, settings: Settings, deadline: Deadline
) -> ModelServer:
    # The first server finds all of the model there; for a later one the variables come again that
    # were dropped.
    version_dir = fetch()
    return ModelServer(
        version_dir,
        start_timeout_seconds=min(settings.start_timeout_seconds, deadline.remaining()),
        call_timeout_seconds=settings.call_timeout_seconds,
        stop_grace_seconds=_STOP_GRACE_SECONDS,
        check_while_waiting=deadline.remaining,
        temporary_folder=folder,
        environment=server_environment(os.environ, settings.server_environment, folder),
        confine=settings.confine_model,
    )


def _loaded(model: ModelFiles, version_dir: Path, settings: Settings) -> None:
    if not settings.keep_variables:
        drop_variables(model, version_dir)


def _until_whole(
    predict: Callable[[Iterable[bytes]], FileReport],
    blocks: Iterable[bytes],
    read_again: Callable[[], Iterable[bytes]],
    output: FileOutput,
) -> FileReport:
    """Begins a file again whose content came damaged, or whose upload was lost."""
    for attempts_left in reversed(range(_FILE_ATTEMPTS)):
        try:
            return predict(blocks)
        except TransferBroken as error:
            broken = error
        except (BadRow, ModelFailed, TooLarge, TooManyBadRows, UnsupportedInput):
            # A row is not called bad that was damaged on its way here: only the end of the content
            # tells. What is left of it has not been asked for by anybody.
            try:
                deque(blocks, maxlen=0)
            except TransferBroken as error:
                broken = error
            else:
                raise
        if attempts_left == 0:
            output.withdraw_bad_rows()
            raise broken
        logger.warning("%s; the file is begun again", broken)
        output.again()
        blocks = read_again()
    raise AssertionError("unreachable")


def _check_readable(
    spec: JobSpec,
    tasks: list[FileTask],
    signature: Signature,
    storage: Storage,
    parse_spec: Callable[[], FeatureTypes | None],
) -> None:
    """Raises UnsupportedInput for the first file of a format that the signature cannot be given.

    Before the first row: no file of the job is begun in vain.
    """
    for task in {task.format: task for task in reversed(tasks)}.values():
        open_reader(
            task,
            signature,
            spec,
            BadRows(skip=False),
            storage=storage,
            max_line_bytes=1,
            parse_spec=parse_spec,
        )


def _streaming(spec: JobSpec, signature: Signature, settings: Settings) -> Streaming:
    """Raises BadModel or BadParameter where the signature cannot be called as is asked for."""
    check_inputs(signature)
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
        answers=ModelAnswers(AnswerSize(signature.outputs, settings.max_answer_bytes)),
        writer=prediction_writer(spec.output_format, signature),
        skip_bad_rows=spec.on_error == "skip",
        max_error_fraction=settings.max_error_fraction,
    )
