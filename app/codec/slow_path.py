"""The slow path: reads rows value by value, and reports an invalid value with its path."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pybase64

from app.codec.casting import ends_in_one
from app.codec.json_values import quoted, quoted_names
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import (
    Array,
    Family,
    dtype_name,
    family,
    integer_range,
    string_array,
)

Shape = tuple[int, ...]

# A 64-bit integer has at most 20 digits.
_WHOLE_NUMBER = re.compile("-?(?:0|[1-9][0-9]{0,19})")

DEEPEST_NESTING = 32


class Misfit(Exception):
    """A value does not fit its input. `indices` are its path, innermost first."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.indices: list[int] = []


def is_bytes(value: Any) -> bool:
    """Whether a value is `{"b64": ...}`."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def input_values(
    row: Any, inputs: Mapping[str, TensorSpec], required: Mapping[str, TensorSpec]
) -> dict[str, Any]:
    """The values by input: of a bare row, or of an object's fields.

    Inputs that are not `required` may be missing, but not all of them. Raises Misfit.
    """
    if not isinstance(row, dict) or is_bytes(row):
        if len(required) == 1:
            return {next(iter(required)): row}
        raise Misfit(
            f"expected an object with the fields {quoted_names(inputs)}, found {quoted(row)}"
        )
    missing = [name for name in required or inputs if name not in row]
    if missing and (required or len(missing) == len(inputs)):
        raise Misfit(
            f"missing; expected the fields {quoted_names(inputs)}, found {quoted_names(row)}",
            field=missing[0],
        )
    if unknown := [name for name in row if name not in inputs]:
        raise Misfit(
            f"the signature has no such input; expected the fields {quoted_names(inputs)}",
            field=quoted_names(unknown[:1]),
        )
    return row


def whole_number(value: Any) -> int | None:
    """Parse an integer in a string, as BigQuery's JSON export writes INT64;

    None for anything else.
    """
    return int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else None


def read_row(value: Any, spec: TensorSpec, name: str, *, integer_strings: bool = False) -> Array:
    """Read one row as an array. Raises Misfit with the path of the first invalid value.

    Adds a missing last dimension of 1. `integer_strings` accepts whole numbers in strings for
    numeric inputs.
    """
    rank = None if spec.shape is None else len(spec.shape) - 1
    kind = family(spec.dtype)
    flat: list[Any] = []
    leaf = partial(_LEAVES[kind], spec)
    if integer_strings and kind in ("integer", "float"):
        leaf = partial(_leaf_from_string, leaf)
    try:
        shape = _flatten(value, rank, leaf, flat, adds_one=ends_in_one(spec))
    except Misfit as misfit:
        misfit.field = name + "".join(f"[{index}]" for index in reversed(misfit.indices))
        raise
    if kind == "string":
        return string_array(flat).reshape(shape)
    # Leaves were checked against the dtype, so only floats need a cast.
    with np.errstate(over="ignore"):
        array = np.array(flat, np.float64 if kind == "float" else spec.dtype)
        return array.astype(spec.dtype, copy=False).reshape(shape)


def _flatten(
    value: Any,
    rank: int | None,
    leaf: Callable[[Any], Any],
    flat: list[Any],
    depth: int = 0,
    *,
    adds_one: bool = False,
) -> Shape:
    """Append the leaves of nested lists to `flat`, and return their shape. `rank` None: any.

    With `adds_one`, a leaf in place of the innermost list is a list of one.
    """
    if rank == depth or (rank is None and not isinstance(value, list)):
        flat.append(leaf(value))
        return ()
    if not isinstance(value, list):
        if adds_one and depth + 1 == rank:
            flat.append(leaf(value))
            return (1,)
        raise Misfit(f"expected a list, found {quoted(value)}")
    if depth >= DEEPEST_NESTING:
        raise Misfit(f"nested more than {DEEPEST_NESTING} deep")
    inner: Shape | None = None
    for index, element in enumerate(value):
        try:
            shape = _flatten(element, rank, leaf, flat, depth + 1, adds_one=adds_one)
            inner = _same_shape(shape, inner)
        except Misfit as misfit:
            misfit.indices.append(index)
            raise
    if inner is None:
        # An empty list does not show the sizes inside it.
        inner = (0,) * (rank - depth - 1 if rank is not None else 0)
        if adds_one and inner:
            inner = (*inner[:-1], 1)
    return (len(value), *inner)


def _same_shape(shape: Shape, neighbour: Shape | None) -> Shape:
    if neighbour is not None and shape != neighbour:
        raise Misfit(
            f"expected the shape of its neighbours, {list(neighbour)}, found {list(shape)}"
        )
    return shape


def fits(shape: Shape, spec: TensorSpec) -> bool:
    """Whether a row of this shape is one of the spec."""
    if spec.shape is None:
        return True
    wanted = spec.shape[1:]
    return len(shape) == len(wanted) and all(
        size is None or size == found for size, found in zip(wanted, shape, strict=True)
    )


def check_shape(shape: Shape, spec: TensorSpec, name: str) -> None:
    """Raise Misfit for a row that is not of the spec's shape."""
    if not fits(shape, spec):
        assert spec.shape is not None
        sizes = ", ".join("?" if size is None else str(size) for size in spec.shape[1:])
        raise Misfit(f"expected the shape [{sizes}], found {list(shape)}", field=name)


def _leaf_from_string(leaf: Callable[[Any], Any], value: Any) -> Any:
    number = whole_number(value)
    return leaf(value if number is None else number)


def _or_as_string(value: Any) -> str:
    if whole_number(value) is None:
        return ""
    return (
        ", a string; BigQuery writes INT64 so, and integer_strings=true takes whole numbers in"
        " strings"
    )


def _float_leaf(spec: TensorSpec, value: Any) -> float:
    if type(value) not in (int, float):
        raise Misfit(
            f"expected a number ({dtype_name(spec.dtype)}), found {quoted(value)}"
            + _or_as_string(value)
        )
    return float(value)


def _integer_leaf(spec: TensorSpec, value: Any) -> int:
    name = dtype_name(spec.dtype)
    if type(value) is not int:
        raise Misfit(f"expected an integer ({name}), found {quoted(value)}{_or_as_string(value)}")
    smallest, largest = integer_range(spec.dtype)
    if not smallest <= value <= largest:
        raise Misfit(f"expected an integer from {smallest} to {largest} ({name}), found {value}")
    return value


def _bool_leaf(_: TensorSpec, value: Any) -> bool:
    if type(value) is not bool:
        raise Misfit(f"expected true or false, found {quoted(value)}")
    return value


def _string_leaf(_: TensorSpec, value: Any) -> bytes:
    return bytes_of(value)


def bytes_of(value: Any) -> bytes:
    """What a string, or `{"b64": "..."}`, stands for; bytes are what they are. Raises Misfit."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise Misfit("an unpaired surrogate, which has no UTF-8 form") from None
    if not is_bytes(value) or not isinstance(value["b64"], str):
        raise Misfit(f'expected a string or {{"b64": "..."}}, found {quoted(value)}')
    return _decode_base64(value["b64"])


def _decode_base64(text: str) -> bytes:
    """Standard alphabet; the padding may be left off, as TF Serving allows."""
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise Misfit(f"not base64 of the standard alphabet: {quoted(text)}") from None


_LEAVES: dict[Family, Callable[[TensorSpec, Any], Any]] = {
    "float": _float_leaf,
    "integer": _integer_leaf,
    "bool": _bool_leaf,
    "string": _string_leaf,
}
