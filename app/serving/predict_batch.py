"""Predicts one batch: as a whole, split if its answer is too large, or without its failing rows."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from app.codec.predictions import check_rows
from app.codec.row_groups import RowGroup
from app.errors import InvalidModel, ModelFailed, TooLarge
from app.serving.answer_parts import Failure, Part, in_row_order
from app.serving.answer_size import AnswerSize
from app.serving.bisection import Refused, predict_bisected
from app.serving.calls_in_flight import GROUPS_IN_FLIGHT, CallsInFlight
from app.serving.error_translation import without_own_paths
from app.serving.model_faults import FailuresSoFar, likely_cause, remedy, rows_to_try
from app.serving.supervised_server import Call, PoisonBatch, SupervisedServer, Tensors
from tfserving_launcher import PredictError

# The server ran out of memory, or gRPC refused an answer that is too large.
_NO_ROOM = "RESOURCE_EXHAUSTED"
# gRPC's message for a response beyond the channel's limit; a server's own begins with "SERVER: ":
# src/core/ext/filters/message_size/message_size_filter.cc.
_LARGER_THAN_MAX = re.compile(r"(?<!SERVER: )Received message larger than max")
# The largest answer to several rows. Twice as much takes 50 MB more memory in this process.
_LARGEST_ANSWER_TO_MANY = 8 * 1024 * 1024
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch whose first group is on its way to the server."""

    groups: tuple[RowGroup, ...]
    first: Call

    @property
    def rows(self) -> int:
        return sum(len(group.rows) for group in self.groups)


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """What a job knows about its model's answers. All files share it."""

    size: AnswerSize
    failures: FailuresSoFar


class BatchPredictor:
    """Sends the batches of one file, and yields their answers in parts.

    `padded_rows` is the batch size that the signature fixes, or None. `batch_size` is the requested
    one, to which batches are padded if the model accepts no other. With `first_only`, it stops at
    the first failing row.
    """

    def __init__(
        self,
        server: SupervisedServer,
        in_flight: CallsInFlight,
        answers: ModelAnswers,
        *,
        padded_rows: int | None,
        batch_size: int | None,
        first_only: bool,
    ) -> None:
        self._server = server
        self._in_flight = in_flight
        self._size = answers.size
        self._failures = answers.failures
        self._padded_rows = padded_rows
        self._batch_size = batch_size
        self._first_only = first_only

    def submit(self, groups: tuple[RowGroup, ...]) -> SentBatch:
        """Send the first group ahead, and do not wait for its answer."""
        call = self._call(groups[0].tensors)
        return SentBatch(groups, self._in_flight.add(self._server.submit(call)))

    def parts(self, sent: SentBatch) -> Iterator[Part]:
        """The answer to a batch, in the order of its rows.

        Raises InvalidModel if the model fails on every row, and what ends the last allowed server.
        """
        parts = self._answers(sent)
        return parts if len(sent.groups) == 1 else in_row_order(list(parts))

    def _answers(self, sent: SentBatch) -> Iterator[Part]:
        first, *others = sent.groups
        calls = deque([(first, sent.first)])
        waiting = deque(others)
        while calls:
            while waiting and len(calls) < GROUPS_IN_FLIGHT:
                group = waiting.popleft()
                call = self._in_flight.add_piece(self._call(group.tensors))
                calls.append((group, self._server.submit(call)))
            group, call = calls.popleft()
            # Only first groups belong to the order of calls.
            wait = self._server.result if call is sent.first else self._server.predict
            yield from self._answer(group, partial(wait, call), call.rows)

    def _answer(
        self, group: RowGroup, answer: Callable[[], Tensors], rows_sent: int | None = None
    ) -> Iterator[Part]:
        rows_sent = rows_sent or len(group.rows)
        try:
            outputs = answer()
        except (PredictError, PoisonBatch) as refusal:
            padded = self._padded_answer(group, rows_sent, refusal)
            if padded is None:
                yield from self._refused(group.tensors, group.rows, refusal)
                return
            outputs = padded
        else:
            if any(array.shape[:1] != (rows_sent,) for array in outputs.values()):
                padded = self._padded_answer(group, rows_sent, None)
                if padded is None:
                    check_rows(outputs, rows_sent)
                outputs = padded or outputs
        self._failures.close()
        outputs = {name: array[: len(group.rows)] for name, array in outputs.items()}
        self._size.answered(outputs, len(group.rows))
        yield Part(group.rows, outputs)

    def _padded_answer(
        self, group: RowGroup, rows_sent: int, refusal: PredictError | PoisonBatch | None
    ) -> Tensors | None:
        """Pad the batch to `batch_size` and try again; None if that fails, too.

        If it succeeds, all later batches are padded.
        """
        size = self._batch_size
        may_be_the_size = isinstance(refusal, PredictError) and refusal.code != _NO_ROOM
        if size is None or rows_sent >= size or not (refusal is None or may_be_the_size):
            return None
        before, self._padded_rows = self._padded_rows, size
        try:
            return self._predict(group.tensors)
        except (PredictError, PoisonBatch, InvalidModel):
            self._padded_rows = before
            return None

    def _refused(
        self, tensors: Tensors, rows: Sequence[int], refusal: PredictError | PoisonBatch
    ) -> Iterator[Part]:
        if isinstance(refusal, PredictError) and refusal.code == _NO_ROOM:
            yield from self._split_large_answer(tensors, rows, refusal)
        else:
            if isinstance(refusal, PredictError) and self._failures.is_open:
                self._blame_model(tensors, refusal)
            yield self._without_failing_rows(tensors, rows, refusal)

    def _split_large_answer(
        self, tensors: Tensors, rows: Sequence[int], refusal: PredictError
    ) -> Iterator[Part]:
        """Split the batch: an answer that is too large is no row's fault."""
        if len(rows) == 1 or self._padded_rows:
            yield Part(rows, {}, dict.fromkeys(rows, self._no_room(refusal)))
            return
        self._size.was_too_large(len(rows))
        middle = len(rows) // 2
        for half in (range(middle), range(middle, len(rows))):
            part = {name: tensor[half.start : half.stop] for name, tensor in tensors.items()}
            indices = rows[half.start : half.stop]
            yield from self._answer(RowGroup(indices, part), partial(self._predict, part))

    def _no_room(self, refusal: PredictError) -> Failure:
        if not _LARGER_THAN_MAX.search(refusal.message):
            return Failure(ModelFailed, f"the model failed on it: {_one_line(str(refusal))}")
        what = "one row"
        if self._padded_rows:
            what = f"one batch of {self._padded_rows} rows, a size that the signature fixes,"
        return Failure(
            TooLarge,
            f"the answer to {what} does not fit: {_one_line(refusal.message)};"
            " MAX_ANSWER_BYTES takes larger answers, where the instance's memory allows it",
        )

    def _blame_model(self, tensors: Tensors, refusal: PredictError) -> None:
        """Raise InvalidModel if only the model can cause the error, or all tried rows share it."""
        rows = len(next(iter(tensors.values())))
        if help_ := remedy(refusal.message):
            raise InvalidModel(
                f"the model cannot predict any row: {_one_line(refusal.message)}; {help_}"
            )
        if self._first_only:
            for index in rows_to_try(rows):
                with suppress(PredictError, PoisonBatch):
                    self._predict({n: tensor[index : index + 1] for n, tensor in tensors.items()})
                if not self._failures.is_open:
                    return
        self._size.failed(rows)

    def _note_failure(self, error: PredictError | PoisonBatch, rows: int) -> None:
        """Raise InvalidModel once enough single rows have failed with the same message."""
        if isinstance(error, PoisonBatch):
            self._failures.close()
        elif rows == 1:
            self._failures.add(error.message)
        if self._failures.blames_model:
            raise InvalidModel(
                "the model fails in the same way on all rows that were tried, from the first one"
                f" on: {_one_line(str(error))}; {likely_cause(str(error))}"
            )

    def _without_failing_rows(
        self, tensors: Tensors, rows: Sequence[int], refusal: PredictError | PoisonBatch
    ) -> Part:
        outputs, refused = predict_bisected(
            tensors, refusal, self._predict, first_only=self._first_only
        )
        failed = {
            rows[index]: Failure(ModelFailed, _why(part)) for part in refused for index in part.rows
        }
        if outputs:
            self._failures.close()
            self._size.answered(outputs, len(next(iter(outputs.values()))))
        return Part(rows, outputs, failed)

    def _predict(self, tensors: Tensors) -> Tensors:
        rows = len(next(iter(tensors.values())))
        call = self._in_flight.add_piece(self._call(tensors))
        try:
            outputs = self._server.predict(call)
        except (PredictError, PoisonBatch) as error:
            self._note_failure(error, rows)
            raise
        check_rows(outputs, self._padded_rows or rows)
        self._failures.close()
        return {name: array[:rows] for name, array in outputs.items()}

    def _call(self, tensors: Tensors) -> Call:
        """Make a call.

        A batch that can be split gets a lower limit for its answer than a single row.
        """
        largest = self._size.largest
        if self._padded_rows is None and len(next(iter(tensors.values()))) > 1:
            largest = min(largest, _LARGEST_ANSWER_TO_MANY)
        return Call(self._padded(tensors), largest)

    def _padded(self, tensors: Tensors) -> Tensors:
        """Pad with copies of the last row, because it is known to fit."""
        missing = (self._padded_rows or 0) - len(next(iter(tensors.values())))
        if missing <= 0:
            return tensors
        return {
            name: np.concatenate([tensor, np.repeat(tensor[-1:], missing, axis=0)])
            for name, tensor in tensors.items()
        }


def _one_line(words: str) -> str:
    return " ".join(without_own_paths(words)[:_SHOWN_CHARACTERS].split())


def _why(refused: Refused) -> str:
    # The message may contain values of other rows, so it is shortened.
    reason = _one_line(refused.reason)
    if len(refused.rows) > 1:
        return (
            f"the model server died twice on the batch of {len(refused.rows)} rows that it was in:"
            f" {reason}"
        )
    return f"the model failed on it: {reason}"
