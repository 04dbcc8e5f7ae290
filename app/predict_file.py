"""One input file streams through the model server into its output file."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from app.bad_rows import BadRows, BadRowText, encode_bad_row
from app.batches import BatchLimits, make_batches
from app.deadline import Deadline
from app.errors import ModelFailed, RowFault
from app.failing_rows import Refused, predict_apart
from app.file_output import FileOutput
from app.instances import InstanceEncoder
from app.lasting_server import BatchKillsServer, Call, LastingServer, Tensors
from app.lines import Lines, read_lines
from app.pipeline import Pipeline
from app.plan import FileTask
from app.predictions import check_rows, encode_predictions
from app.progress import Progress
from app.report import FileReport
from app.server_errors import shown
from app.settings import MEBIBYTE
from tfserving_launcher import PredictError, Signature

_CALLS_AHEAD = 3
# What storage takes at once; the steps before it go on meanwhile.
_TEXTS_AHEAD = 256
_BYTES_AHEAD = 6 * MEBIBYTE
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How rows are cut and sent, and what becomes of bad ones.

    `padded_rows` is the batch size that the model fixes, or None.
    """

    limits: BatchLimits
    padded_rows: int | None
    max_line_bytes: int
    skip_bad_rows: bool
    max_error_fraction: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines on their way; `call` is None where no row of them is left."""

    lines: Lines
    rows: int
    bad_rows: list[BadRowText]
    call: Call | None


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
        signature: Signature,
        streaming: Streaming,
        in_flight: _CallsInFlight,
    ) -> None:
        self._file = task.input.uri
        self._server = server
        self._streaming = streaming
        self._in_flight = in_flight
        self._bad_rows = BadRows(skip=streaming.skip_bad_rows)
        self._encoder = InstanceEncoder(signature, self._bad_rows)

    def submitted(self, blocks: Iterable[bytes]) -> Iterator[_Batch]:
        """The content of the file in batches that are on their way to the server."""
        lines = read_lines(
            blocks,
            max_line_bytes=self._streaming.max_line_bytes,
            file=self._file,
            on_fault=self._bad_rows,
        )
        number = 1
        for batch in make_batches(lines, self._streaming.limits):
            tensors = self._encoder.encode(batch)
            number = batch.first + len(batch.ends)
            bad_rows = self._bad_rows.up_to(number - 1)
            if tensors:
                rows = len(next(iter(tensors.values())))
                call = self._in_flight.add(self._server.submit(self._padded(tensors)))
                yield _Batch(batch, rows, bad_rows, call)
            elif bad_rows:
                yield _Batch(batch, 0, bad_rows, None)
            if bad_rows and not self._bad_rows.skip:
                return
        if bad_rows := self._bad_rows.up_to(None):
            yield _Batch(Lines(number, b"", np.empty(0, np.intp)), 0, bad_rows, None)

    def answered(self, batches: Iterable[_Batch]) -> Iterator[_Predicted]:
        """The lines of the output, and those of the bad rows, batch by batch.

        Raises what the first bad row becomes, where bad rows are not skipped.
        """
        for batch in batches:
            text, rows, bad_rows = b"", batch.rows, batch.bad_rows
            outputs: Tensors = {}
            rows_sent = self._streaming.padded_rows or rows
            if batch.call is not None:
                try:
                    outputs = self._server.result(batch.call)
                except (PredictError, BatchKillsServer) as refusal:
                    outputs, failed = self._predict_apart(batch, batch.call, refusal)
                    rows = rows_sent = batch.rows - len(failed)
                    bad_rows = sorted([*bad_rows, *failed], key=lambda row: row.fault.line)
            if bad_rows and not self._bad_rows.skip:
                raise bad_rows[0].fault.as_error(self._file)
            if rows:
                text = encode_predictions(outputs, rows, rows_sent=rows_sent)
            errors = b"".join(map(encode_bad_row, bad_rows))
            yield _Predicted(text, rows, errors, len(bad_rows), len(batch.lines.text))

    def _predict_apart(
        self, batch: _Batch, call: Call, refusal: PredictError | BatchKillsServer
    ) -> tuple[Tensors, list[BadRowText]]:
        """The outputs of the rows that the model takes, and those on which it fails.

        Only the first of these where bad rows are not skipped.
        """
        tensors = {name: tensor[: batch.rows] for name, tensor in call.tensors.items()}
        outputs, refused = predict_apart(
            tensors, refusal, self._predict, first_only=not self._bad_rows.skip
        )
        already_bad = {row.fault.line for row in batch.bad_rows}
        rows = [row for row in batch.lines.rows() if row[0] not in already_bad]
        return outputs, [
            BadRowText(RowFault(number, None, _why(part), ModelFailed), text)
            for part in refused
            for number, text in rows[part.rows.start : part.rows.stop]
        ]

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
    signature: Signature,
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
        stream = FileStream(task, server, signature, streaming, in_flight)
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
