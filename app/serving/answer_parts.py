"""The outcomes of a batch's rows, in parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import JobError
from app.serving.supervised_server import Tensors


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no prediction."""

    kind: type[JobError]
    message: str


@dataclass(frozen=True, slots=True)
class Part:
    """The outcome of some rows of a batch, given by their indices.

    `outputs` holds the rows that are not in `failed`, in order. It is empty if all have failed.
    """

    rows: Sequence[int]
    outputs: Tensors
    failed: dict[int, Failure] = field(default_factory=dict)


def in_row_order(parts: Sequence[Part]) -> Iterator[Part]:
    """Sort the rows: into one part if all outputs have the same shape, else into single rows."""
    failed = {row: failure for part in parts for row, failure in part.failed.items()}
    answered = [part for part in parts if part.outputs]
    rows = [row for part in answered for row in part.rows if row not in failed]
    shapes = {
        tuple((name, array.shape[1:]) for name, array in part.outputs.items()) for part in answered
    }
    if len(shapes) <= 1:
        names = answered[0].outputs if answered else ()
        order = np.argsort(np.array(rows, np.intp), kind="stable")
        outputs = {
            name: np.concatenate([part.outputs[name] for part in answered])[order] for name in names
        }
        yield Part(sorted([*rows, *failed]), outputs, failed)
        return
    single = (
        {name: array[index : index + 1] for name, array in part.outputs.items()}
        for part in answered
        for index in range(len(next(iter(part.outputs.values()))))
    )
    by_row = {row: Part([row], outputs) for row, outputs in zip(rows, single, strict=True)}
    by_row |= {row: Part([row], {}, {row: failure}) for row, failure in failed.items()}
    yield from (by_row[row] for row in sorted(by_row))
