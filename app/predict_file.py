"""One input file streams through the model server into its output file."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from app.bad_rows import BadRows, BadRowText, encode_bad_row
from app.batches import BatchLimits, make_batches
from app.deadline import Deadline
from app.errors import ModelFailed, RowFault
from app.failing_rows import Refused, predict_apart
from app.file_output import FileOutput
from app.formats.gzipped import unpacked
from app.formats.reader import Companions, FaultSink, InstanceReader
from app.lasting_server import BatchKillsServer, Call, LastingServer, Tensors
from app.pipeline import Pipeline
from app.plan import FileTask
from app.prediction_writers import PredictionWriter
from app.predictions import check_rows
from app.progress import Progress
from app.records import Records
from app.report import FileReport
from app.server_errors import shown
from app.settings import MEBIBYTE
from tfserving_launcher import PredictError

_CALLS_AHEAD = 3
# What storage takes at once; the steps before it go on meanwhile.
_TEXTS_AHEAD = 256
_BYTES_AHEAD = 6 * MEBIBYTE
_SHOWN_CHARACTERS = 400

OpenReader = Callable[[FaultSink], InstanceReader[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How rows are cut, sent and written, and what becomes of bad ones.

    `padded_rows` is the batch size that the model fixes, or None.
    """

    limits: BatchLimits
    padded_rows: int | None
    writer: PredictionWriter
    skip_bad_rows: bool
    max_error_fraction: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records on their way; `call` is None where no row of them is left.

    `input_bytes` of the file have been read since the batch before it.
    """

    records: Records | None
    rows: int
    companions: Companions
    bad_rows: list[BadRowText]
    call: Call | None
    input_bytes: int


class _CallsInFlight:
    """Calls that are cancelled when the block is left: nobody may wait for them any more."""

    def __init__(self, server: LastingServer) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._ahead: deque[Call] = deque(maxlen=_CALLS_AHEAD + 2)
        # Of a batch that was refused, one piece at a time is under way beside those.
        self._piece: deque[Call] = deque(maxlen=1)
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._left = True
            calls = [*self._ahead, *self._piece]
        for call in calls:
            self._server.cancel(call)

    def add(self, call: Call) -> Call:
        return self._add_to(self._ahead, call)

    def add_piece(self, call: Call) -> Call:
        return self._add_to(self._piece, call)

    def _add_to(self, calls: deque[Call], call: Call) -> Call:
        with self._lock:
            calls.append(call)
            if self._left:
                self._server.cancel(call)
        return call


@dataclass(frozen=True, slots=True)
class _Predicted:
    text: bytes
    rows: int
    errors: bytes
    bad_rows: int
    input_bytes: int


class FileStream:
    """What the steps of one file share."""

    def __init__(
        self,
        task: FileTask,
        server: LastingServer,
        open_reader: OpenReader,
        streaming: Streaming,
        in_flight: _CallsInFlight,
    ) -> None:
        self._file = task.input.uri
        self._server = server
        self._streaming = streaming
        self._in_flight = in_flight
        self._bad_rows = BadRows(skip=streaming.skip_bad_rows)
        self._reader = open_reader(self._bad_rows)
        self._bytes_read = 0

    def submitted(self, blocks: Iterable[bytes]) -> Iterator[_Batch]:
        """The content of the file in batches that are on their way to the server."""
        records = self._reader.read(unpacked(self._counted(blocks), file=self._file))
        for batch in make_batches(records, self._streaming.limits):
            instances = self._reader.instances(batch)
            bad_rows = self._bad_rows.up_to(batch.first + len(batch.ends) - 1)
            read, self._bytes_read = self._bytes_read, 0
            if tensors := instances.tensors:
                rows = len(next(iter(tensors.values())))
                call = self._in_flight.add(self._server.submit(self._padded(tensors)))
                yield _Batch(batch, rows, instances.companions, bad_rows, call, read)
            elif bad_rows:
                yield _Batch(batch, 0, Companions(), bad_rows, None, read)
            if bad_rows and not self._bad_rows.skip:
                return
        if bad_rows := self._bad_rows.up_to(None):
            yield _Batch(None, 0, Companions(), bad_rows, None, self._bytes_read)

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._bytes_read += len(block)
            yield block

    def answered(self, batches: Iterable[_Batch]) -> Iterator[_Predicted]:
        """The lines of the output, and those of the bad rows, batch by batch.

        Raises what the first bad row becomes, where bad rows are not skipped.
        """
        header: bytes | None = None
        for batch in batches:
            text, rows, bad_rows = b"", batch.rows, batch.bad_rows
            outputs: Tensors = {}
            companions = batch.companions
            rows_sent = self._streaming.padded_rows or rows
            if batch.call is not None:
                try:
                    outputs = self._server.result(batch.call)
                except (PredictError, BatchKillsServer) as refusal:
                    outputs, failed = self._predict_apart(batch, batch.call, refusal)
                    rows = rows_sent = batch.rows - len(failed)
                    companions = companions.without(set(failed))
                    bad_rows = sorted(
                        [*bad_rows, *failed.values()], key=lambda row: row.fault.number
                    )
            if bad_rows and not self._bad_rows.skip:
                raise bad_rows[0].fault.as_error(self._file, self._reader.unit)
            if header is None:
                # Known once the first batch is, whose file may have a header of its own.
                text = header = self._header()
            if rows:
                text += self._streaming.writer.encode(
                    outputs, companions, rows, rows_sent=rows_sent
                )
            errors = b"".join([encode_bad_row(row, self._reader) for row in bad_rows])
            yield _Predicted(text, rows, errors, len(bad_rows), batch.input_bytes)
        if header is None:
            yield _Predicted(self._header(), 0, b"", 0, self._bytes_read)

    def _header(self) -> bytes:
        return self._streaming.writer.header(self._reader.companion_names())

    def _predict_apart(
        self, batch: _Batch, call: Call, refusal: PredictError | BatchKillsServer
    ) -> tuple[Tensors, dict[int, BadRowText]]:
        """The outputs of the rows that the model takes, and those on which it fails, by place.

        Only the first of these where bad rows are not skipped.
        """
        assert batch.records is not None
        tensors = {name: tensor[: batch.rows] for name, tensor in call.tensors.items()}
        outputs, refused = predict_apart(
            tensors, refusal, self._predict, first_only=not self._bad_rows.skip
        )
        already_bad = {row.fault.number for row in batch.bad_rows}
        rows = [row for row in self._reader.rows(batch.records) if row[0] not in already_bad]
        failed = {}
        for part in refused:
            for place in part.rows:
                number, text = rows[place]
                fault = RowFault(number, None, _why(part), ModelFailed)
                failed[place] = BadRowText(fault, text)
        return outputs, failed

    def _predict(self, tensors: Tensors) -> Tensors:
        rows = len(next(iter(tensors.values())))
        call = self._in_flight.add_piece(Call(self._padded(tensors)))
        outputs = self._server.predict(call)
        check_rows(outputs, self._streaming.padded_rows or rows)
        return {name: array[:rows] for name, array in outputs.items()}

    def _padded(self, tensors: Tensors) -> Tensors:
        """The last row repeated: a row that is known to fit."""
        missing = (self._streaming.padded_rows or 0) - len(next(iter(tensors.values())))
        if missing <= 0:
            return tensors
        return {
            name: np.concatenate([tensor, np.repeat(tensor[-1:], missing, axis=0)])
            for name, tensor in tensors.items()
        }


def predict_file(
    task: FileTask,
    blocks: Iterable[bytes],
    server: LastingServer,
    open_reader: OpenReader,
    *,
    output: FileOutput,
    streaming: Streaming,
    progress: Progress,
    deadline: Deadline,
) -> FileReport:
    """Encoding, decoding and uploading of `blocks`, the input's content, overlap.

    The output appears whole or not at all. Raises what the first bad row becomes, TooManyBadRows,
    BadModel, what storage and the launcher raise, and what the deadline raises.
    """
    with ExitStack() as stack:
        stack.enter_context(output.begun())
        pipeline = stack.enter_context(Pipeline(deadline))
        in_flight = stack.enter_context(_CallsInFlight(server))
        stream = FileStream(task, server, open_reader, streaming, in_flight)
        batches = pipeline.ahead(stream.submitted(blocks), depth=_CALLS_AHEAD, name="encode")
        texts = pipeline.ahead(
            stream.answered(batches),
            depth=_TEXTS_AHEAD,
            name="decode",
            weigh=lambda predicted: len(predicted.text) + len(predicted.errors),
            most_weight=_BYTES_AHEAD,
        )
        written = _write(texts, output, streaming.max_error_fraction)
        for predicted in pipeline.ahead(written, depth=1, name="upload"):
            deadline.remaining()
            progress.advanced(rows=predicted.rows + predicted.bad_rows, size=predicted.input_bytes)
    return FileReport(
        input=task.input.uri,
        output=str(task.output),
        errors_output=str(task.errors_output) if output.bad_rows else None,
        instances=output.rows + output.bad_rows,
        predictions=output.rows,
        errors=output.bad_rows,
        input_bytes=task.input.size,
        output_bytes=output.bytes,
    )


def _write(
    texts: Iterable[_Predicted], output: FileOutput, max_error_fraction: float
) -> Iterator[_Predicted]:
    """Finishes the file only when all that came before has ended well."""
    for predicted in texts:
        output.write(predicted.text, predicted.rows)
        output.write_bad_rows(predicted.errors, predicted.bad_rows)
        yield predicted
    output.finish(max_error_fraction)


def _why(refused: Refused) -> str:
    # A model's own words may tell of other rows of the batch.
    reason = shown(refused.reason)[:_SHOWN_CHARACTERS]
    if len(refused.rows) > 1:
        return (
            f"the model server died twice on the batch of {len(refused.rows)} rows that it was in:"
            f" {reason}"
        )
    return f"the model failed on it: {reason}"
