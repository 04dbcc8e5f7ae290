"""Bisects a batch to find the rows on which the model fails.

TF Serving refuses a batch as a whole and does not name the row. The valid rows are sent again as
one batch of the same size, because kernels may round differently for other sizes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from app.serving.supervised_server import PoisonBatch, Tensors
from tfserving_launcher import PredictError

Predict = Callable[[Tensors], Tensors]

_Refusal = PredictError | PoisonBatch


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows of a batch, by index, that failed for one reason."""

    rows: range
    reason: str


@dataclass(frozen=True, slots=True)
class _Part:
    rows: range
    outcome: Tensors | Refused


def predict_bisected(
    tensors: Tensors, refusal: _Refusal, predict: Predict, *, first_only: bool
) -> tuple[Tensors, list[Refused]]:
    """Predict the rows that do not fail, and find those that do, after `tensors` were refused.

    With `first_only`, stops at the first failing row. If there are no outputs, all rows failed.
    """
    parts = []
    for part in _bisect(tensors, range(_rows_of(tensors)), refusal, predict):
        parts.append(part)
        if first_only and isinstance(part.outcome, Refused):
            return {}, [part.outcome]
    refused = [part.outcome for part in parts if isinstance(part.outcome, Refused)]
    answered = [part for part in parts if not isinstance(part.outcome, Refused)]
    if not answered:
        return {}, refused
    good = np.concatenate([np.arange(part.rows.start, part.rows.stop) for part in answered])
    if refused:
        try:
            outputs = predict(_with_good_rows_only(tensors, good))
        except (PredictError, PoisonBatch):
            pass  # some rows fail only together with others, so use the answers of the parts
        else:
            return {name: array[good] for name, array in outputs.items()}, refused
    outcomes = [part.outcome for part in answered if isinstance(part.outcome, dict)]
    return {name: np.concatenate([o[name] for o in outcomes]) for name in outcomes[0]}, refused


def _bisect(tensors: Tensors, rows: range, refusal: _Refusal, predict: Predict) -> Iterator[_Part]:
    """Yield parts in order. Each was answered, or cannot be split further."""
    if len(rows) == 1 or isinstance(refusal, PoisonBatch):
        yield _Part(rows, Refused(rows, str(refusal)))
        return
    middle = rows.start + len(rows) // 2
    for half in (range(rows.start, middle), range(middle, rows.stop)):
        part = {name: tensor[half.start : half.stop] for name, tensor in tensors.items()}
        try:
            yield _Part(half, predict(part))
        except (PredictError, PoisonBatch) as error:
            yield from _bisect(tensors, half, error, predict)


def _with_good_rows_only(tensors: Tensors, good: np.typing.NDArray[np.intp]) -> Tensors:
    """Replace each failing row by a copy of a valid one near it."""
    indices = np.searchsorted(good, np.arange(_rows_of(tensors))).clip(max=len(good) - 1)
    return {name: tensor[good[indices]] for name, tensor in tensors.items()}


def _rows_of(tensors: Tensors) -> int:
    return len(next(iter(tensors.values())))
