"""Groups of rows as tests look at them."""

from typing import Any

import numpy as np

from app.codec.row_groups import RowGroup
from tfserving_launcher.tensors import Array


def tensors_of(groups: tuple[RowGroup, ...]) -> dict[str, Array]:
    """The tensors of the only group; none where there is no row."""
    if not groups:
        return {}
    (group,) = groups
    return group.tensors


def values_of(groups: tuple[RowGroup, ...]) -> dict[str, list[Any]]:
    """By input, the values of all rows in order."""
    places = {row: (group, index) for group in groups for index, row in enumerate(group.rows)}
    values: dict[str, list[Any]] = {}
    for _, (group, index) in sorted(places.items()):
        for name, tensor in group.tensors.items():
            values.setdefault(name, []).append(tensor.tolist()[index])
    return values


def assert_same(one: tuple[RowGroup, ...], other: tuple[RowGroup, ...]) -> None:
    """The same rows in the same groups, with the same tensors."""
    assert sorted(list(group.rows) for group in one) == sorted(list(group.rows) for group in other)
    by_rows = {tuple(group.rows): group.tensors for group in other}
    for group in one:
        tensors = by_rows[tuple(group.rows)]
        assert group.tensors.keys() == tensors.keys()
        for name, tensor in group.tensors.items():
            assert tensor.dtype == tensors[name].dtype
            assert tensor.shape == tensors[name].shape
            np.testing.assert_array_equal(tensor, tensors[name])
