"""Rows of one batch whose tensors have one shape, so that one call can take them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfserving_launcher.tensors import Array


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one shape. `rows` are their indices among the valid rows of the batch, in order.

    `tensors` are by input, and have the shape [len(rows), ...].
    """

    rows: Sequence[int]
    tensors: dict[str, Array]


def one_group(tensors: dict[str, Array]) -> tuple[RowGroup, ...]:
    """The group of all valid rows; none where there are no rows."""
    if not tensors:
        return ()
    return (RowGroup(range(len(next(iter(tensors.values())))), tensors),)


def group_by_shape(rows: Sequence[Mapping[str, Array]]) -> tuple[RowGroup, ...]:
    """The groups of rows that have the same inputs, of the same shapes."""
    groups: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
    for index, row in enumerate(rows):
        shapes = tuple(sorted((name, array.shape) for name, array in row.items()))
        groups.setdefault(shapes, []).append(index)
    return tuple(
        RowGroup(indices, {name: np.stack([rows[i][name] for i in indices]) for name, _ in shapes})
        for shapes, indices in groups.items()
    )
