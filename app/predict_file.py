"""One input file streams through the model server into its output file."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from app.batches import BatchLimits, make_batches
from app.deadline import Deadline
from app.errors import ModelFailed
from app.instances import InstanceEncoder
from app.lines import Lines, read_lines
from app.pipeline import Pipeline
from app.plan import FileTask
from app.predictions import encode_predictions
from app.progress import Progress
from app.report import FileReport
from app.settings import MEBIBYTE
from app.storage import Storage, Writer
from tfserving_launcher import ModelServer, PredictError, PredictFuture, Signature
from tfserving_launcher.tensors import Array

_CALLS_AHEAD = 3
# What storage takes at once; the steps before it go on meanwhile.
_TEXTS_AHEAD = 256
_BYTES_AHEAD = 6 * MEBIBYTE

# Codes of a refusal that says nothing of the rows.
_NOT_THE_BATCH = ("CANCELLED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How rows are cut and sent. `padded_rows` is the batch size that the model fixes, or None."""

    limits: BatchLimits
    padded_rows: int | None
    max_line_bytes: int
    call_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class _Call:
    batch: Lines
    rows: int
    future: PredictFuture


class _CallsInFlight:
    """Calls that are cancelled when the block is left: nobody may wait for them any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: deque[PredictFuture] = deque(maxlen=_CALLS_AHEAD + 2)
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._left = True
        for future in self._futures:
            future.cancel()

    def add(self, future: PredictFuture) -> None:
        with self._lock:
            self._futures.append(future)
            if self._left:
                future.cancel()


@dataclass(frozen=True, slots=True)
class _Predicted:
    text: bytes
    rows: int
    input_bytes: int


def predict_file(
    task: FileTask,
    blocks: Iterable[bytes],
    server: ModelServer,
    signature: Signature,
    *,
    storage: Storage,
    streaming: Streaming,
    progress: Progress,
    deadline: Deadline,
) -> FileReport:
    """Encoding, decoding and uploading of `blocks`, the input's content, overlap.

    The output appears whole or not at all. Raises BadRow, TooLarge, ModelFailed, BadModel, what
    storage and the launcher raise, and what the deadline raises.
    """
    file = task.input.uri
    encoder = InstanceEncoder(signature, file)
    rows = output_bytes = 0
    with (
        storage.create(task.output) as output,
        Pipeline(deadline) as pipeline,
        _CallsInFlight() as in_flight,
    ):
        lines = read_lines(blocks, max_line_bytes=streaming.max_line_bytes, file=file)
        batches = make_batches(lines, streaming.limits)
        calls = pipeline.ahead(
            _submit(
                batches,
                encoder,
                server,
                in_flight,
                signature_name=signature.name,
                streaming=streaming,
                deadline=deadline,
            ),
            depth=_CALLS_AHEAD,
            name="encode",
        )
        answers = _decode(calls, file, streaming.padded_rows)
        texts = pipeline.ahead(
            answers,
            depth=_TEXTS_AHEAD,
            name="decode",
            weigh=lambda predicted: len(predicted.text),
            most_weight=_BYTES_AHEAD,
        )
        for predicted in pipeline.ahead(_upload(texts, output), depth=1, name="upload"):
            deadline.remaining()
            rows += predicted.rows
            output_bytes += len(predicted.text)
            progress.advanced(rows=predicted.rows, size=predicted.input_bytes)
    return FileReport(
        input=file,
        output=str(task.output),
        instances=rows,
        predictions=rows,
        errors=0,
        input_bytes=task.input.size,
        output_bytes=output_bytes,
    )


def _submit(
    batches: Iterable[Lines],
    encoder: InstanceEncoder,
    server: ModelServer,
    in_flight: "_CallsInFlight",
    *,
    signature_name: str,
    streaming: Streaming,
    deadline: Deadline,
) -> Iterator[_Call]:
    for batch in batches:
        tensors = encoder.encode(batch)
        if not tensors:
            continue
        rows = len(next(iter(tensors.values())))
        if streaming.padded_rows is not None:
            tensors = _padded(tensors, streaming.padded_rows)
        future = server.submit(
            tensors,
            signature_name=signature_name,
            timeout_seconds=min(streaming.call_timeout_seconds, deadline.remaining()),
        )
        in_flight.add(future)
        yield _Call(batch, rows, future)


def _decode(calls: Iterable[_Call], file: str, padded_rows: int | None) -> Iterator[_Predicted]:
    for call in calls:
        try:
            outputs = call.future.result()
        except PredictError as error:
            if error.code in _NOT_THE_BATCH:
                raise
            rows = call.batch.rows()
            first, last = rows[0][0], rows[-1][0]
            lines = f"line {first}" if first == last else f"lines {first} to {last}"
            raise ModelFailed(
                f"{file}, {lines}: the model failed on this batch: {error.code}: {error.message}",
                {"file": file, "first_line": first, "last_line": last},
            ) from None
        yield _Predicted(
            encode_predictions(outputs, call.rows, rows_sent=padded_rows or call.rows),
            call.rows,
            len(call.batch.text),
        )


def _upload(texts: Iterable[_Predicted], output: Writer) -> Iterator[_Predicted]:
    """Finishes the file only when all that came before has ended well."""
    for predicted in texts:
        output.write(predicted.text)
        yield predicted
    output.finish()


def _padded(tensors: dict[str, Array], rows: int) -> dict[str, Array]:
    """The last row repeated: a row that the model has just proved to take."""
    missing = rows - len(next(iter(tensors.values())))
    if missing == 0:
        return tensors
    return {
        name: np.concatenate([tensor, np.repeat(tensor[-1:], missing, axis=0)])
        for name, tensor in tensors.items()
    }
