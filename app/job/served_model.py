"""The served model of a job: its server, its signature and its batch limits."""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from app.codec.constants import narrow_signature, read_constants
from app.codec.signatures import (
    PREDICT_METHOD,
    check_inputs,
    check_outputs,
    default_signature,
    fixed_batch_size,
)
from app.config.file_format import CsvDialect, delimiter_of_name
from app.formats.context import InstanceReader, ReaderContext
from app.formats.registry import open_reader
from app.formats.writers import PredictionWriter, prediction_writer
from app.framing.batches import BatchLimits
from app.framing.records import RowErrorSink
from app.job.context import JobContext
from app.planning.plan import FileTask
from app.savedmodel.fetch_model import (
    check_model_fits,
    check_sources,
    drop_variables,
    fetch_model,
)
from app.savedmodel.model_files import ModelFiles
from app.serving.answer_size import AnswerSize
from app.serving.environment import server_environment
from app.serving.loaded_model import LoadedModel
from app.serving.model_faults import FailuresSoFar
from app.serving.predict_batch import ModelAnswers
from app.serving.supervised_server import SupervisedServer
from app.settings import MEBIBYTE
from app.telemetry.log import log_into
from tfserving_launcher import ModelServer, Signature
from tfserving_launcher.parse_spec import FeatureTypes, read_parse_spec
from tfserving_launcher.saved_model import SAVED_MODEL_FILE

# The default batch size amortises the cost of a call, and a few batches in flight fit into the
# smallest instance.
ROWS_PER_BATCH = 4096
BYTES_PER_BATCH = 1 * MEBIBYTE
# The limits of a requested batch size.
_MAX_ROWS_PER_BATCH = 32 * 1024
_MAX_BYTES_PER_BATCH = 8 * MEBIBYTE
# Cloud Run gives an instance ten seconds to stop everything.
_STOP_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that is ready for calls.

    `fixed_rows` is the batch size that the signature fixes, or None. `parse_spec` reads the
    features that the graph parses, for the readers that need them. `warmed_up` marks the requests
    that the server was sent ahead.
    """

    server: SupervisedServer
    signature: Signature
    limits: BatchLimits
    fixed_rows: int | None
    answers: ModelAnswers
    writer: PredictionWriter
    row_signatures: tuple[str, ...]
    parse_spec: Callable[[], FeatureTypes | None]
    warmed_up: set[object]

    def open_reader(
        self,
        job: JobContext,
        task: FileTask,
        on_row_error: RowErrorSink,
        *,
        is_tfrecord: bool = False,
    ) -> InstanceReader[Any]:
        """Open a reader for one file, for the requested format or that of its name.

        `is_tfrecord` says that the content is TFRecord, whatever the name. Raises UnsupportedInput
        if the signature cannot take rows of that format.
        """
        by_content = is_tfrecord and job.spec.input_format is None
        dialect = CsvDialect(
            job.spec.csv_delimiter or delimiter_of_name(task.input.uri), job.spec.csv_header
        )
        context = replace(self.reader_context(job, task.input.uri, on_row_error), dialect=dialect)
        return open_reader(
            "tfrecord" if by_content else task.format,
            context,
            output_format=job.spec.output_format,
            manifest=task.manifest,
            storage=job.storage,
        )

    def reader_context(
        self, job: JobContext, file: str, on_row_error: RowErrorSink
    ) -> ReaderContext:
        """What a reader of rows for this model is made with. `file` is the URI for errors."""
        return ReaderContext(
            file=file,
            signature=self.signature,
            fields=job.spec.fields,
            on_row_error=on_row_error,
            max_line_bytes=job.settings.max_line_bytes,
            integer_strings=job.spec.integer_strings,
            row_signatures=self.row_signatures,
            parse_spec=self.parse_spec,
        )

    def check_formats(self, job: JobContext, tasks: Iterable[FileTask]) -> None:
        """Raise UnsupportedInput for the first file whose format the signature cannot take.

        Checked before the first row, so that no file is predicted in vain.
        """
        first_by_format: dict[str, FileTask] = {}
        for task in tasks:
            first_by_format.setdefault(task.format, task)
        for task in first_by_format.values():
            self.open_reader(job, task, lambda _error, _text: False)


@contextmanager
def serve_model(job: JobContext, model: ModelFiles) -> Iterator[ServedModel]:
    """Serve the model while the block runs, by a kept server if there is one.

    Raises TooLarge if the model does not fit, InvalidModel or InvalidArgument if the signature
    cannot be called as requested, and what storage and the launcher raise.
    """
    with borrowed_model(job, model) as loaded, supervised_server(job, model, loaded) as server:
        yield served_by(job, server, loaded)


def borrowed_model(
    job: JobContext, model: ModelFiles, *, reserve: bool = False
) -> AbstractContextManager[LoadedModel]:
    """The model as it was kept, or a new folder for it. See ModelCache."""

    def check_room(folder: Path) -> None:
        check_model_fits(model, folder, job.settings.model_memory_bytes)

    return job.models.borrow(
        model,
        job.spec.model,
        job.settings,
        check_room=check_room,
        pin=job.spec.model == job.settings.model,
        reserve=reserve,
    )


@contextmanager
def supervised_server(
    job: JobContext, model: ModelFiles, loaded: LoadedModel, arguments: tuple[str, ...] = ()
) -> Iterator[SupervisedServer]:
    """A server of the model while the block runs: the one that was kept, or a new one.

    A new one is started with more `arguments`. After the block the last one stays in `loaded`,
    unless it may have to do with an error.
    """
    if loaded.server is not None:
        check_sources(model, job.model_storage)
    first, loaded.server = loaded.server, None
    servers_before = itertools.count(0 if first is None else 1)

    def fetch() -> Path:
        return fetch_model(model, job.model_storage, loaded.folder, job.deadline.remaining)

    def launch() -> ModelServer:
        if next(servers_before) > 0:
            # The last one may have died for want of memory.
            job.models.drop_all()
        loaded.warmed_up.clear()
        # This thread's context goes with the server, which may serve other jobs later.
        log_into(loaded.log)
        # The first server finds the complete model. For later ones, fetch dropped variables
        # again.
        return ModelServer(
            fetch(),
            start_timeout_seconds=min(job.settings.start_timeout_seconds, job.deadline.remaining()),
            call_timeout_seconds=job.settings.call_timeout_seconds,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
            check_while_waiting=job.deadline.remaining,
            temporary_folder=loaded.folder,
            environment=server_environment(
                os.environ, job.settings.server_environment, loaded.folder
            ),
            confine=job.settings.confine_model,
            extra_arguments=arguments,
        )

    def drop_what_is_loaded() -> None:
        if not job.settings.keep_variables and loaded.version_dir is not None:
            drop_variables(model, loaded.version_dir)

    server = SupervisedServer(
        launch,
        loaded=drop_what_is_loaded,
        restarts=job.settings.server_restarts,
        call_timeout_seconds=job.settings.call_timeout_seconds,
        deadline=job.deadline,
        first=first,
    )
    try:
        with ExitStack() as stack:
            if first is None:
                with job.phase("model_download", f"fetching the model {job.spec.model}"):
                    loaded.version_dir = job.deadline.run(fetch)
                sentence = f"starting a model server for version {model.version}"
                with job.phase("server_start", sentence):
                    stack.enter_context(server)
            else:
                stack.enter_context(server)
            yield server
    finally:
        loaded.server = server.kept
        if server.first_call_seconds is not None:
            job.stopwatch.note("first_call", server.first_call_seconds)


def served_by(job: JobContext, server: SupervisedServer, loaded: LoadedModel) -> ServedModel:
    """The model as the job calls it. For errors see `serve_model`."""
    version_dir = loaded.version_dir
    assert version_dir is not None
    name = job.spec.signature_name or default_signature(server.signature_names())
    job.done.signature_name = name
    signature = server.signature(name)
    constants = read_constants(job.spec.constants, signature)
    server.set_for_all_calls(constants, job.spec.output_filter)
    signature = narrow_signature(signature, constants, job.spec.output_filter)
    check_inputs(signature)
    check_outputs(signature)
    fixed_rows = fixed_batch_size(signature)

    @cache
    def parse_spec() -> FeatureTypes | None:
        return read_parse_spec(version_dir / SAVED_MODEL_FILE, name)

    return ServedModel(
        server=server,
        signature=signature,
        limits=_batch_limits(fixed_rows, job.spec.batch_size),
        fixed_rows=fixed_rows,
        answers=ModelAnswers(
            AnswerSize(signature.outputs, job.settings.max_answer_bytes),
            FailuresSoFar(skips_row_errors=job.spec.on_error == "skip"),
        ),
        writer=prediction_writer(job.spec.output_format, signature),
        row_signatures=_row_signatures(server),
        parse_spec=parse_spec,
        warmed_up=loaded.warmed_up,
    )


def _row_signatures(server: SupervisedServer) -> tuple[str, ...]:
    """The signatures that take rows directly, and not tf.Examples by their method."""
    return tuple(
        name for name in server.signature_names() if server.method_name(name) == PREDICT_METHOD
    )


def _batch_limits(fixed_rows: int | None, batch_size: int | None) -> BatchLimits:
    if fixed_rows is not None:
        # The model accepts no other size, however large its rows are.
        return BatchLimits(max_rows=fixed_rows, max_bytes=sys.maxsize)
    if batch_size is not None:
        return BatchLimits(
            max_rows=min(batch_size, _MAX_ROWS_PER_BATCH), max_bytes=_MAX_BYTES_PER_BATCH
        )
    return BatchLimits(max_rows=ROWS_PER_BATCH, max_bytes=BYTES_PER_BATCH)
