"""The fast path for regular rows of any type: one NumPy conversion for each input."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pybase64

from app.codec.casting import cast_exactly, ends_in_one, with_last_dimension
from app.codec.json_values import InvalidJson, parse_json
from app.codec.row_groups import RowGroup, one_group
from app.codec.slow_path import DEEPEST_NESTING, is_bytes, whole_number
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, string_array

_KINDS = {"float": "fiu", "integer": "iu", "bool": "b"}


def read_columns(
    texts: list[bytes], inputs: Mapping[str, TensorSpec], *, integer_strings: bool = False
) -> tuple[RowGroup, ...] | None:
    """Read rows as groups of one shape; None if any row is irregular.

    Rows are grouped by the lengths of their lists, so only their outer dimension may differ.
    """
    rows = _parse(texts)
    columns = None if rows is None else _columns(rows, inputs)
    if columns is None:
        return None

    @cache
    def may_hold_booleans() -> bool:
        return any(b"true" in text or b"false" in text for text in texts)

    read = partial(
        _tensors,
        inputs=inputs,
        may_hold_booleans=may_hold_booleans,
        integer_strings=integer_strings,
    )
    if (tensors := read(columns)) is not None:
        return one_group(tensors)
    groups = []
    for indices in _by_lengths(columns.values()):
        tensors = read({name: [values[i] for i in indices] for name, values in columns.items()})
        if tensors is None:
            return None
        groups.append(RowGroup(indices, tensors))
    shapes = {tuple(array.shape[1:] for array in group.tensors.values()) for group in groups}
    # Rows of one shape that are written in different ways, such as 1 and [1], are irregular.
    return tuple(groups) if len(shapes) == len(groups) else None


def _tensors(
    columns: dict[str, list[Any]],
    *,
    inputs: Mapping[str, TensorSpec],
    may_hold_booleans: Callable[[], bool],
    integer_strings: bool,
) -> dict[str, Array] | None:
    tensors = {}
    for name, spec in inputs.items():
        column: list[Any] | None = columns[name]
        if integer_strings and family(spec.dtype) in ("integer", "float"):
            column = _from_strings(columns[name])
        tensor = None if column is None else _tensor(column, spec, may_hold_booleans)
        if tensor is None:
            return None
        tensors[name] = with_last_dimension(tensor, spec)
    return tensors


def _by_lengths(columns: Iterable[list[Any]]) -> Iterable[list[int]]:
    """The indices of rows whose lists have the same lengths."""
    lengths = [
        [len(value) if type(value) is list else -1 for value in column] for column in columns
    ]
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(zip(*lengths, strict=True)):
        groups.setdefault(row, []).append(index)
    return groups.values()


def _parse(texts: list[bytes]) -> list[Any] | None:
    try:
        return list(map(orjson.loads, texts))
    except orjson.JSONDecodeError:
        pass  # perhaps only because of NaN and Infinity, which TF Serving accepts
    try:
        return list(map(parse_json, texts))
    except InvalidJson:
        return None


def _columns(rows: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, list[Any]] | None:
    """The values of each input, or None if rows have different fields."""
    if type(rows[0]) is not dict or is_bytes(rows[0]):
        return {next(iter(inputs)): rows} if len(inputs) == 1 else None
    try:
        if set(map(len, rows)) != {len(inputs)}:
            return None
        return {name: [row[name] for row in rows] for name in inputs}
    except (TypeError, KeyError, IndexError):
        return None


def _tensor(
    column: list[Any], spec: TensorSpec, may_hold_booleans: Callable[[], bool]
) -> Array | None:
    kind = family(spec.dtype)
    if kind == "string":
        if ends_in_one(spec) and len(spec.shape or ()) == 2:
            column = _only_elements(column)
        return _strings(column)
    try:
        array: Array = np.array(column)
    except ValueError:
        return None
    if array.dtype.kind not in _KINDS[kind] or array.ndim - 1 > DEEPEST_NESTING:
        return None
    # NumPy converts booleans among numbers to 0 and 1.
    if kind != "bool" and _holds_booleans(column, array.ndim, may_hold_booleans):
        return None
    return cast_exactly(array, spec)


def _from_strings(column: list[Any]) -> list[Any] | None:
    """Convert strings that hold whole numbers; None if one does not."""
    if set(map(type, column)) != {str}:
        return column
    numbers = list(map(whole_number, column))
    return None if None in numbers else numbers


def _only_elements(column: list[Any]) -> list[Any]:
    """Unpack lists of one element; return the column unchanged if any value is something else."""
    if set(map(type, column)) != {list} or set(map(len, column)) != {1}:
        return column
    return [element for (element,) in column]


def _strings(column: list[Any]) -> Array | None:
    kinds = set(map(type, column))
    if kinds == {str}:
        try:
            values = list(map(str.encode, column))
        except UnicodeEncodeError:
            return None
    elif kinds == {dict} and set(map(len, column)) == {1}:
        try:
            values = [pybase64.b64decode(value["b64"], validate=True) for value in column]
        except (KeyError, TypeError, ValueError):
            return None
    else:
        return None
    return string_array(values)


def _holds_booleans(column: list[Any], rank: int, may_hold_booleans: Callable[[], bool]) -> bool:
    if rank > 1 and not may_hold_booleans():
        return False
    values: Iterable[Any] = column
    for _ in range(rank - 1):
        values = chain.from_iterable(values)
    return bool in set(map(type, values))
