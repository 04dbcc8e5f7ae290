"""One input file streams through the model server into its output file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.answer_size import MOST_WAITING_BYTES, answer_bytes
from app.bad_rows import BadRows, BadRowText, encode_bad_row
from app.batches import BatchLimits, make_batches
from app.deadline import Deadline
from app.errors import ModelFailed, RowFault
from app.file_output import FileOutput
from app.formats.gzipped import checked, unpacked
from app.formats.opened import recognise_tfrecord
from app.formats.reader import Companions, FaultSink, InstanceReader
from app.lasting_server import Call, LastingServer, Tensors
from app.pipeline import Pipeline
from app.plan import FileTask
from app.predict_batch import BatchPredictor, CallsInFlight, Failure, ModelAnswers, Part
from app.prediction_writers import PredictionWriter
from app.predictions import NotText, rows_without_text
from app.progress import Progress
from app.records import Records
from app.report import FileReport
from app.settings import MEBIBYTE

_CALLS_AHEAD = 3
# What storage takes at once; the steps before it go on meanwhile.
_TEXTS_AHEAD = 256
_BYTES_AHEAD = 6 * MEBIBYTE
# Of answers that are made JSON at once; the JSON has three to six times as many.
_PIECE_BYTES = MEBIBYTE


class OpenReader(Protocol):
    """Gives a new reader for one file."""

    def __call__(
        self, on_fault: FaultSink, *, is_tfrecord: bool = False
    ) -> InstanceReader[Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How rows are cut, sent and written, and what becomes of bad ones.

    `padded_rows` is the batch size that the model fixes, or None.
    """

    limits: BatchLimits
    padded_rows: int | None
    answers: ModelAnswers
    writer: PredictionWriter
    skip_bad_rows: bool
    max_error_fraction: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Records on their way; `call` is None where no row of them is left.

    `input_bytes` of the file have been read since the batch before it, and about `answer_bytes` are
    expected.
    """

    records: Records | None
    rows: int
    companions: Companions
    bad_rows: list[BadRowText]
    call: Call | None
    input_bytes: int
    answer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Predicted:
    """A piece of the output, and the rows whose lines begin in it."""

    text: bytes = b""
    rows: int = 0
    errors: bytes = b""
    bad_rows: int = 0
    input_bytes: int = 0


class FileStream:
    """What the steps of one file share."""

    def __init__(
        self,
        task: FileTask,
        predictor: BatchPredictor,
        open_reader: OpenReader,
        streaming: Streaming,
        check: Callable[[], object],
    ) -> None:
        self._check = check
        self._file = task.input.uri
        self._predictor = predictor
        self._streaming = streaming
        self._bad_rows = BadRows(skip=streaming.skip_bad_rows)
        self._open_reader = open_reader
        self._reader = open_reader(self._bad_rows)
        self._bytes_read = 0

    def submitted(self, blocks: Iterable[bytes]) -> Iterator[_Batch]:
        """The content of the file in batches that are on their way to the server."""
        content = unpacked(self._counted(blocks), file=self._file)
        # A few kilobytes may unpack to gigabytes without a single row.
        content = checked(content, self._check)
        is_tfrecord, content = recognise_tfrecord(content)
        if is_tfrecord:
            self._reader = self._open_reader(self._bad_rows, is_tfrecord=True)
        records = self._reader.read(content)
        size = self._streaming.answers.size
        for batch in self._batches(records):
            instances = self._reader.instances(batch)
            bad_rows = self._bad_rows.up_to(batch.last)
            read, self._bytes_read = self._bytes_read, 0
            if tensors := instances.tensors:
                rows = len(next(iter(tensors.values())))
                call = self._predictor.submit(tensors)
                answer_bytes = size.of_rows(self._streaming.padded_rows or rows)
                yield _Batch(batch, rows, instances.companions, bad_rows, call, read, answer_bytes)
            elif bad_rows:
                yield _Batch(batch, 0, Companions(), bad_rows, None, read)
            if bad_rows and not self._bad_rows.skip:
                return
        if bad_rows := self._bad_rows.up_to(None):
            yield _Batch(None, 0, Companions(), bad_rows, None, self._bytes_read)

    def _batches(self, records: Iterable[Any]) -> Iterator[Any]:
        """Bounded by what goes in, and each of these by what comes out of the model."""
        for batch in make_batches(records, self._streaming.limits):
            rows = len(batch.ends)
            start = 0
            while start < rows:
                end = rows
                if self._streaming.padded_rows is None:
                    end = min(rows, start + self._streaming.answers.size.rows())
                yield batch.part(start, end)
                start = end

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._bytes_read += len(block)
            yield block

    def answered(self, batches: Iterable[_Batch]) -> Iterator[_Predicted]:
        """The lines of the output, and those of the bad rows, batch by batch.

        Raises what the first bad row becomes, where bad rows are not skipped.
        """
        has_header = False
        for batch in batches:
            if not has_header:
                # CSV column names are known only after the first batch.
                yield _Predicted(self._header())
                has_header = True
            bad_rows = list(batch.bad_rows)
            # Each piece is handed from thread to thread, so the last one takes all counts along.
            last = _Predicted()
            for part in self._parts(batch):
                failed = dict(part.failed)
                for piece in self._encoded(batch, part, failed):
                    if last.text or last.rows:
                        yield last
                    last = piece
                bad_rows += self._as_bad_rows(batch, failed)
                if bad_rows and not self._bad_rows.skip:
                    break
            bad_rows.sort(key=lambda row: row.fault.number)
            if bad_rows and not self._bad_rows.skip:
                raise bad_rows[0].fault.as_error(self._file, self._reader.unit)
            errors = b"".join([encode_bad_row(row, self._reader) for row in bad_rows])
            yield replace(
                last, errors=errors, bad_rows=len(bad_rows), input_bytes=batch.input_bytes
            )
        if not has_header:
            yield _Predicted(self._header(), input_bytes=self._bytes_read)

    def _header(self) -> bytes:
        return self._streaming.writer.header(self._reader.companion_names())

    def _parts(self, batch: _Batch) -> Iterable[Part]:
        return () if batch.call is None else self._predictor.parts(batch.call, batch.rows)

    def _encoded(
        self, batch: _Batch, part: Part, failed: dict[int, Failure]
    ) -> Iterator[_Predicted]:
        """The lines of a part. Adds the rows that have none to `failed`, by place in the batch."""
        good: Sequence[int] = part.rows
        if failed:
            good = [place for place in part.rows if place not in failed]
        row_bytes = answer_bytes(part.outputs) // max(1, len(good))
        step = max(1, _PIECE_BYTES // max(1, row_bytes))
        for start in range(0, len(good) if part.outputs else 0, step):
            places = good[start : start + step]
            outputs = {name: array[start : start + step] for name, array in part.outputs.items()}
            try:
                texts = self._texts(batch, outputs, places)
            except NotText:
                not_text = rows_without_text(outputs)
                failed |= {places[row]: Failure(ModelFailed, why) for row, why in not_text.items()}
                kept = [row for row in range(len(places)) if row not in not_text]
                places = [places[row] for row in kept]
                outputs = {name: array[kept] for name, array in outputs.items()}
                texts = self._texts(batch, outputs, places)
            rows = len(places)
            for text in texts:
                yield _Predicted(text, rows)
                # Counted with the first piece of their lines.
                rows = 0

    def _texts(self, batch: _Batch, outputs: Tensors, places: Sequence[int]) -> Iterable[bytes]:
        """The lines of these rows of the batch. Raises NotText before the first of them."""
        writer = self._streaming.writer
        companions = batch.companions.at(places)
        if len(places) == 1 and answer_bytes(outputs) > _PIECE_BYTES:
            return writer.encode_large_row(outputs, companions)
        return [writer.encode(outputs, companions, len(places), rows_sent=len(places))]

    def _as_bad_rows(self, batch: _Batch, failed: dict[int, Failure]) -> list[BadRowText]:
        if not failed:
            return []
        assert batch.records is not None
        already_bad = {row.fault.number for row in batch.bad_rows}
        rows = [row for row in self._reader.rows(batch.records) if row[0] not in already_bad]
        return [
            BadRowText(RowFault(rows[place][0], None, why.message, why.kind), rows[place][1])
            for place, why in sorted(failed.items())
        ]


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
        in_flight = stack.enter_context(CallsInFlight(server, ahead=_CALLS_AHEAD))
        predictor = BatchPredictor(
            server,
            in_flight,
            streaming.answers,
            padded_rows=streaming.padded_rows,
            first_only=not streaming.skip_bad_rows,
        )
        stream = FileStream(task, predictor, open_reader, streaming, deadline.remaining)
        batches = pipeline.ahead(
            stream.submitted(blocks),
            depth=_CALLS_AHEAD,
            name="encode",
            weigh=lambda batch: batch.answer_bytes,
            most_weight=MOST_WAITING_BYTES,
        )
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
