"""The prediction of one input file.

Its steps overlap, each in its own thread:

    blocks -> _send: batches on their way to the server -> _answers: lines of JSON -> _write
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from app.codec.predictions import NotText, rows_without_text
from app.concurrency.pipeline import Pipeline
from app.errors import InputError, ModelFailed, RowError, TransferBroken
from app.formats.context import InstanceReader, PassthroughFields
from app.formats.recognition import beginning_of, check_beginning, is_tfrecord
from app.framing.batches import make_batches
from app.framing.gzipped import checked, unpacked
from app.framing.records import Records
from app.job.context import JobContext
from app.job.file_output import FileOutput
from app.job.row_errors import InvalidRecord, RowErrors, encode_row_error
from app.job.served_model import ServedModel
from app.planning.plan import FileTask
from app.serving.answer_parts import Failure, Part
from app.serving.answer_size import MOST_WAITING_BYTES, answer_bytes
from app.serving.calls_in_flight import CallsInFlight
from app.serving.predict_batch import BatchPredictor, SentBatch
from app.serving.supervised_server import Tensors
from app.settings import MEBIBYTE
from app.telemetry.report import FileReport

# The most attempts for a file whose content arrived damaged, or whose upload was lost.
_ATTEMPTS = 3
_MAX_CALLS_AHEAD = 3
# While storage takes a large upload chunk, the steps before it continue.
_MAX_PIECES_AHEAD = 256
_MAX_BYTES_AHEAD = 6 * MEBIBYTE
# The size of tensors that are encoded at once. Their JSON is three to six times as long.
_PIECE_BYTES = MEBIBYTE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records in flight. `sent` is None if none of them is a valid instance.

    `input_bytes` is what was read since the previous batch, `answer_bytes` the expected size of the
    answer.
    """

    records: Records | None
    passthrough: PassthroughFields
    row_errors: list[InvalidRecord]
    sent: SentBatch | None
    input_bytes: int
    answer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Predicted:
    """A piece of the output, in which `rows` lines begin."""

    text: bytes = b""
    rows: int = 0
    errors: bytes = b""
    row_errors: int = 0
    input_bytes: int = 0


class FilePrediction:
    """Predicts one file, and publishes its output. Holds the state that the steps share.

    `read_again` reads the input from its beginning, for the attempts after the first one. `check`
    is called now and then, and ends the prediction by what it raises.
    """

    def __init__(
        self,
        job: JobContext,
        served: ServedModel,
        task: FileTask,
        read_again: Callable[[FileTask], Iterable[bytes]],
        check: Callable[[], object],
    ) -> None:
        self._job = job
        self._served = served
        self._task = task
        self._read_again = read_again
        self._check = check
        self._attempts_left = _ATTEMPTS
        self._output = FileOutput(
            task, job.storage, writer_id=job.writer_id, signature_name=served.signature.name
        )
        self._skip = job.spec.on_error == "skip"
        self._row_errors: RowErrors
        self._reader: InstanceReader[Any]
        self._predictor: BatchPredictor
        self._bytes_read: int

    def predict(self, blocks: Iterable[bytes]) -> None:
        """Predict the file with the content `blocks`; nothing appears before `publish`.

        Starts again if the content arrived damaged, or if the upload was lost. Raises the first row
        error unless bad rows are skipped, TooManyRowErrors, InvalidModel, and what storage, the
        launcher and the deadline raise.
        """
        while True:
            self._attempts_left -= 1
            try:
                self._attempt(blocks)
            except TransferBroken as error:
                broken = error
            except InputError:
                # The checksum is known only at the end. A row that was damaged in transit is not
                # invalid.
                try:
                    deque(blocks, maxlen=0)
                except TransferBroken as error:
                    broken = error
                else:
                    raise
            else:
                return
            blocks = self._begin_again(broken)

    def publish(self) -> FileReport:
        """Publish what is predicted. The output appears complete or not at all.

        Raises what storage raises; after TransferBroken, `predict_again` may help.
        """
        self._output.publish()
        return self._report()

    def predict_again(self, broken: TransferBroken) -> FileReport:
        """Predict and publish the file from its beginning, after its publication `broken`."""
        while True:
            try:
                self.predict(self._begin_again(broken))
            except BaseException:
                self._output.withdraw_row_errors()
                raise
            try:
                return self.publish()
            except TransferBroken as error:
                broken = error

    def clean_up(self) -> None:
        """Delete what the published output makes obsolete. Raises what storage raises."""
        self._output.delete_stale_errors()

    @property
    def held_bytes(self) -> int:
        """About how much of the output and its errors is in memory until they are published."""
        most = self._job.settings.upload_chunk_bytes
        return min(self._output.bytes, most) + min(self._output.errors_bytes, most)

    def _begin_again(self, broken: TransferBroken) -> Iterable[bytes]:
        """Read the file again. Raises `broken` if no attempt is left."""
        if self._attempts_left == 0:
            self._output.withdraw_row_errors()
            raise broken
        logger.warning("%s; the file is begun again", broken)
        self._output.again()
        return self._read_again(self._task)

    def _attempt(self, blocks: Iterable[bytes]) -> None:
        self._row_errors = RowErrors(skip=self._skip)
        self._reader = self._served.open_reader(self._job, self._task, self._row_errors)
        self._bytes_read = 0
        with ExitStack() as stack:
            stack.enter_context(self._output.begun())
            pipeline = stack.enter_context(Pipeline(self._job.deadline))
            self._predictor = BatchPredictor(
                self._served.server,
                stack.enter_context(CallsInFlight(self._served.server, ahead=_MAX_CALLS_AHEAD)),
                self._served.answers,
                padded_rows=self._served.fixed_rows,
                batch_size=self._job.spec.batch_size,
                first_only=not self._skip,
            )
            predicted = self._answers_ahead(pipeline, blocks)
            for piece in pipeline.prefetch(self._write(predicted), name="upload", max_items=1):
                self._job.deadline.remaining()
                self._check()
                rows = piece.rows + piece.row_errors
                self._job.progress.advanced(rows=rows, size=piece.input_bytes)
            self._output.complete(self._job.settings.max_error_fraction)

    def _answers_ahead(self, pipeline: Pipeline, blocks: Iterable[bytes]) -> Iterator[_Predicted]:
        batches = pipeline.prefetch(
            self._send(blocks),
            name="encode",
            max_items=_MAX_CALLS_AHEAD,
            max_bytes=MOST_WAITING_BYTES,
            size_of=lambda batch: batch.answer_bytes,
        )
        return pipeline.prefetch(
            self._answers(batches),
            name="decode",
            max_items=_MAX_PIECES_AHEAD,
            max_bytes=_MAX_BYTES_AHEAD,
            size_of=lambda piece: len(piece.text) + len(piece.errors),
        )

    def _send(self, blocks: Iterable[bytes]) -> Iterator[_Batch]:
        """Read the file, and send its batches."""
        content = unpacked(self._counted(blocks), file=self._task.input.uri)
        # A few kilobytes may decompress to gigabytes without a row, so check the deadline here.
        content = checked(content, self._job.deadline.remaining)
        beginning, content = beginning_of(content)
        if is_tfrecord(beginning):
            self._reader = self._served.open_reader(
                self._job, self._task, self._row_errors, is_tfrecord=True
            )
        else:
            check_beginning(
                beginning, self._task.format, self._served.signature, self._task.input.uri
            )
        for batch in self._batches(self._reader.read(content)):
            instances = self._reader.instances(batch)
            row_errors = self._row_errors.up_to(batch.last)
            read, self._bytes_read = self._bytes_read, 0
            if instances.groups:
                sent = self._predictor.submit(instances.groups)
                expected = self._served.answers.size.of_rows(self._served.fixed_rows or sent.rows)
                yield _Batch(batch, instances.passthrough, row_errors, sent, read, expected)
            elif row_errors:
                yield _Batch(batch, PassthroughFields(), row_errors, None, read)
            if row_errors and not self._skip:
                return
        if row_errors := self._row_errors.up_to(None):
            yield _Batch(None, PassthroughFields(), row_errors, None, self._bytes_read)

    def _batches(self, records: Iterable[Any]) -> Iterator[Any]:
        """Make batches, bounded by their own size and by the expected size of the answer."""
        for batch in make_batches(records, self._served.limits):
            rows = len(batch.ends)
            start = 0
            while start < rows:
                end = rows
                if self._served.fixed_rows is None:
                    end = min(rows, start + self._served.answers.size.rows())
                yield batch.part(start, end)
                start = end

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._bytes_read += len(block)
            yield block

    def _answers(self, batches: Iterable[_Batch]) -> Iterator[_Predicted]:
        """Encode the answers and the row errors, batch by batch.

        Raises the first row error unless bad rows are skipped.
        """
        has_header = False
        for batch in batches:
            if not has_header:
                # CSV column names are known only after the first batch.
                yield _Predicted(self._header())
                has_header = True
            row_errors = list(batch.row_errors)
            # Passing a piece to the next thread is costly, so the last piece carries the counts.
            last = _Predicted()
            for part in self._parts(batch):
                failed = dict(part.failed)
                for piece in self._encoded(batch, part, failed):
                    if last.text or last.rows:
                        yield last
                    last = piece
                row_errors += self._as_row_errors(batch, failed)
                if row_errors and not self._skip:
                    break
            row_errors.sort(key=lambda row: row.error.number)
            if row_errors and not self._skip:
                raise row_errors[0].error.as_error(self._task.input.uri, self._reader.unit)
            errors = b"".join([encode_row_error(row, self._reader) for row in row_errors])
            yield replace(
                last, errors=errors, row_errors=len(row_errors), input_bytes=batch.input_bytes
            )
        if not has_header:
            yield _Predicted(self._header(), input_bytes=self._bytes_read)

    def _header(self) -> bytes:
        return self._served.writer.header(self._reader.passthrough_names())

    def _parts(self, batch: _Batch) -> Iterable[Part]:
        return () if batch.sent is None else self._predictor.parts(batch.sent)

    def _encoded(
        self, batch: _Batch, part: Part, failed: dict[int, Failure]
    ) -> Iterator[_Predicted]:
        """Encode the lines of a part. Adds rows without a line to `failed`, by batch index."""
        good: Sequence[int] = part.rows
        if failed:
            good = [index for index in part.rows if index not in failed]
        row_bytes = answer_bytes(part.outputs) // max(1, len(good))
        step = max(1, _PIECE_BYTES // max(1, row_bytes))
        for start in range(0, len(good) if part.outputs else 0, step):
            indices = good[start : start + step]
            outputs = {name: array[start : start + step] for name, array in part.outputs.items()}
            try:
                texts = self._texts(batch, outputs, indices)
            except NotText:
                not_text = rows_without_text(outputs)
                failed |= {indices[row]: Failure(ModelFailed, why) for row, why in not_text.items()}
                kept = [row for row in range(len(indices)) if row not in not_text]
                indices = [indices[row] for row in kept]
                outputs = {name: array[kept] for name, array in outputs.items()}
                texts = self._texts(batch, outputs, indices)
            rows = len(indices)
            for text in texts:
                yield _Predicted(text, rows)
                # The first piece counted the rows.
                rows = 0

    def _texts(self, batch: _Batch, outputs: Tensors, indices: Sequence[int]) -> Iterable[bytes]:
        """Encode the rows with these indices. Raises NotText before the first line."""
        writer = self._served.writer
        passthrough = batch.passthrough.at(indices)
        if len(indices) == 1 and answer_bytes(outputs) > _PIECE_BYTES:
            return writer.encode_large_row(outputs, passthrough)
        return [writer.encode(outputs, passthrough, len(indices), rows_sent=len(indices))]

    def _as_row_errors(self, batch: _Batch, failed: dict[int, Failure]) -> list[InvalidRecord]:
        if not failed:
            return []
        assert batch.records is not None
        already_bad = {row.error.number for row in batch.row_errors}
        rows = [row for row in self._reader.rows(batch.records) if row[0] not in already_bad]
        return [
            InvalidRecord(RowError(rows[index][0], None, why.message, why.kind), rows[index][1])
            for index, why in sorted(failed.items())
        ]

    def _write(self, pieces: Iterable[_Predicted]) -> Iterator[_Predicted]:
        for piece in pieces:
            self._output.write(piece.text, piece.rows)
            self._output.write_row_errors(piece.errors, piece.row_errors)
            yield piece

    def _report(self) -> FileReport:
        output, task = self._output, self._task
        return FileReport(
            input=task.input.uri,
            output=str(task.output),
            errors_output=str(task.errors_output) if output.row_errors else None,
            instances=output.rows + output.row_errors,
            predictions=output.rows,
            errors=output.row_errors,
            input_bytes=task.input.size,
            output_bytes=output.bytes,
        )
