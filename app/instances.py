"""JSON lines to tensors, as TF Serving's REST API reads the elements of `instances`.

A line is a bare value where the signature has one input, else an object with exactly the
signature's inputs as keys. `{"b64": "..."}` is bytes. Integers become floats where the input is
float; nothing else is converted. All rows of an input have one shape, which fits the signature's.
Source: tensorflow_serving/util/json_tensor.cc (FillPredictRequestFromJson); it leaves the
signature's shape unchecked, here it is checked.

A batch of regular rows takes the quick way, one NumPy conversion an input. A batch in which
anything is odd takes the careful way, value by value, which either finds the fault or agrees.
"""

import binascii
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import orjson

from app.batches import Batch
from app.errors import BadModel, BadRow, RowFault
from app.json_values import InvalidJson, parse_json, shown
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import (
    STRING,
    Array,
    Family,
    dtype_name,
    family,
    integer_range,
)

Shape = tuple[int, ...]

_QUICK_KINDS = {"float": "fiu", "integer": "iu", "bool": "b"}
_DEEPEST_NESTING = 32


def fixed_batch_size(signature: Signature) -> int | None:
    """Rows that every call must have, where the signature fixes its first dimension.

    Raises BadModel where the signature has no inputs, or one without JSON form or batch dimension.
    """
    if not signature.inputs:
        raise BadModel(f"signature {signature.name} has no inputs, so there is nothing to predict")
    sizes = set()
    for name, spec in signature.inputs.items():
        if family(spec.dtype) == "complex":
            raise BadModel(f"input {name} is {spec}: complex numbers have no JSON form")
        if spec.shape == ():
            raise BadModel(f"input {name} is {spec}: it has no batch dimension")
        sizes.add(spec.shape[0] if spec.shape else None)
    fixed = sizes - {None}
    if len(fixed) > 1:
        raise BadModel(
            f"the inputs of signature {signature.name} fix different batch sizes:"
            f" {', '.join(f'{name} is {spec}' for name, spec in signature.inputs.items())}"
        )
    return next(iter(fixed), None)


class InstanceEncoder:
    """Turns the batches of one file into tensors."""

    def __init__(self, signature: Signature, file: str) -> None:
        self._inputs = signature.inputs
        self._file = file
        self._row_shapes: dict[str, Shape] = {}

    def encode(self, batch: Batch) -> dict[str, Array]:
        """Tensors by input name; the first dimension is the batch. Raises BadRow."""
        tensors = self._quick(batch) or self._careful(batch)
        for name, tensor in tensors.items():
            self._row_shapes.setdefault(name, tensor.shape[1:])
        return tensors

    def _quick(self, batch: Batch) -> dict[str, Array] | None:
        """None where anything is not as expected."""
        try:
            rows = list(map(orjson.loads, batch.texts))
        except orjson.JSONDecodeError:
            return None
        columns = _columns(rows, self._inputs)
        if columns is None:
            return None
        tensors = {}
        for name, spec in self._inputs.items():
            tensor = _quick_tensor(columns[name], spec, batch.texts)
            if tensor is None or not self._shape_fits(name, tensor.shape[1:]):
                return None
            tensors[name] = tensor
        return tensors

    def _careful(self, batch: Batch) -> dict[str, Array]:
        rows: dict[str, list[Array]] = {name: [] for name in self._inputs}
        shapes = dict(self._row_shapes)
        for text, number in zip(batch.texts, batch.numbers, strict=True):
            try:
                values = _values(parse_json(text), self._inputs)
                for name, spec in self._inputs.items():
                    row = _careful_row(values[name], spec, name)
                    _check_shape(row.shape, spec, shapes.setdefault(name, row.shape), name)
                    rows[name].append(row)
            except InvalidJson as error:
                raise BadRow(self._file, RowFault(number, None, str(error))) from None
            except _Misfit as misfit:
                raise BadRow(self._file, RowFault(number, misfit.field, str(misfit))) from None
        return {name: np.stack(column) for name, column in rows.items()}

    def _shape_fits(self, name: str, shape: Shape) -> bool:
        return _fits(shape, self._inputs[name]) and shape == self._row_shapes.get(name, shape)


class _Misfit(Exception):
    """A value that does not fit its input; `indices` lead to it, the innermost first."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.indices: list[int] = []


def _columns(rows: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, list[Any]] | None:
    """The values of each input, or None where the rows are not all of one form."""
    if type(rows[0]) is not dict or _is_bytes(rows[0]):
        return {next(iter(inputs)): rows} if len(inputs) == 1 else None
    try:
        if set(map(len, rows)) != {len(inputs)}:
            return None
        return {name: [row[name] for row in rows] for name in inputs}
    except (TypeError, KeyError, IndexError):
        return None


def _values(row: Any, inputs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    if not isinstance(row, dict) or _is_bytes(row):
        if len(inputs) == 1:
            return {next(iter(inputs)): row}
        raise _Misfit(f"expected an object with the fields {', '.join(inputs)}, found {shown(row)}")
    if missing := [name for name in inputs if name not in row]:
        raise _Misfit(
            f"missing; expected the fields {', '.join(inputs)}, found {', '.join(row) or 'none'}",
            field=missing[0],
        )
    if unknown := [name for name in row if name not in inputs]:
        raise _Misfit(
            f"the signature has no such input; expected the fields {', '.join(inputs)}",
            field=unknown[0],
        )
    return row


def _quick_tensor(column: list[Any], spec: TensorSpec, texts: list[bytes]) -> Array | None:
    kind = family(spec.dtype)
    if kind == "string":
        return _quick_strings(column)
    try:
        array: Array = np.array(column)
    except ValueError:
        return None
    if array.dtype.kind not in _QUICK_KINDS[kind]:
        return None
    # NumPy takes booleans among numbers for 0 and 1.
    if kind != "bool" and _holds_booleans(column, array.ndim, texts):
        return None
    if kind == "integer" and array.size:
        smallest, largest = integer_range(spec.dtype)
        if array.min() < smallest or array.max() > largest:
            return None
    return _cast(array, spec)


def _quick_strings(column: list[Any]) -> Array | None:
    if set(map(type, column)) != {str}:
        return None
    tensor = np.empty(len(column), STRING)
    tensor[:] = list(map(str.encode, column))
    return tensor


def _holds_booleans(column: list[Any], rank: int, texts: list[bytes]) -> bool:
    if rank > 1 and not any(b"true" in text or b"false" in text for text in texts):
        return False
    values: Iterable[Any] = column
    for _ in range(rank - 1):
        values = chain.from_iterable(values)
    return bool in set(map(type, values))


def _cast(array: Array, spec: TensorSpec) -> Array:
    # Beyond the largest finite value a float becomes infinite, as in TF Serving.
    with np.errstate(over="ignore"):
        return array.astype(spec.dtype, copy=False)


def _careful_row(value: Any, spec: TensorSpec, name: str) -> Array:
    """One row's array of any shape, or _Misfit with the place of the first value at fault."""
    rank = None if spec.shape is None else len(spec.shape) - 1
    kind = family(spec.dtype)
    flat: list[Any] = []
    try:
        shape = _flatten(value, rank, partial(_LEAVES[kind], spec), flat)
    except _Misfit as misfit:
        misfit.field = name + "".join(f"[{index}]" for index in reversed(misfit.indices))
        raise
    if kind == "string":
        row = np.empty(len(flat), STRING)
        row[:] = flat
        return row.reshape(shape)
    return _cast(np.array(flat, np.float64 if kind == "float" else spec.dtype), spec).reshape(shape)


def _flatten(
    value: Any, rank: int | None, leaf: Callable[[Any], Any], flat: list[Any], depth: int = 0
) -> Shape:
    """Appends the leaves of nested lists to `flat`; gives their shape. `rank` None: any."""
    if rank == depth or (rank is None and not isinstance(value, list)):
        flat.append(leaf(value))
        return ()
    if not isinstance(value, list):
        raise _Misfit(f"expected a list, found {shown(value)}")
    if depth >= _DEEPEST_NESTING:
        raise _Misfit(f"nested more than {_DEEPEST_NESTING} deep")
    inner: Shape | None = None
    for index, element in enumerate(value):
        try:
            shape = _flatten(element, rank, leaf, flat, depth + 1)
            inner = _same_shape(shape, inner)
        except _Misfit as misfit:
            misfit.indices.append(index)
            raise
    if inner is None:
        # An empty list says nothing of the sizes inside it.
        inner = (0,) * (rank - depth - 1 if rank is not None else 0)
    return (len(value), *inner)


def _same_shape(shape: Shape, neighbour: Shape | None) -> Shape:
    if neighbour is not None and shape != neighbour:
        raise _Misfit(
            f"expected the shape of its neighbours, {list(neighbour)}, found {list(shape)}"
        )
    return shape


def _check_shape(shape: Shape, spec: TensorSpec, first: Shape, name: str) -> None:
    if not _fits(shape, spec):
        assert spec.shape is not None
        sizes = ", ".join("?" if size is None else str(size) for size in spec.shape[1:])
        raise _Misfit(f"expected the shape [{sizes}], found {list(shape)}", field=name)
    if shape != first:
        raise _Misfit(
            f"expected the shape of the rows before it, {list(first)}, found {list(shape)}",
            field=name,
        )


def _fits(shape: Shape, spec: TensorSpec) -> bool:
    if spec.shape is None:
        return True
    wanted = spec.shape[1:]
    return len(shape) == len(wanted) and all(
        size is None or size == found for size, found in zip(wanted, shape, strict=True)
    )


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _float_leaf(spec: TensorSpec, value: Any) -> float:
    if type(value) not in (int, float):
        raise _Misfit(f"expected a number ({dtype_name(spec.dtype)}), found {shown(value)}")
    return float(value)


def _integer_leaf(spec: TensorSpec, value: Any) -> int:
    name = dtype_name(spec.dtype)
    if type(value) is not int:
        raise _Misfit(f"expected an integer ({name}), found {shown(value)}")
    smallest, largest = integer_range(spec.dtype)
    if not smallest <= value <= largest:
        raise _Misfit(f"expected an integer from {smallest} to {largest} ({name}), found {value}")
    return value


def _bool_leaf(_: TensorSpec, value: Any) -> bool:
    if type(value) is not bool:
        raise _Misfit(f"expected true or false, found {shown(value)}")
    return value


def _string_leaf(_: TensorSpec, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise _Misfit("an unpaired surrogate, which has no UTF-8 form") from None
    if not _is_bytes(value) or not isinstance(value["b64"], str):
        raise _Misfit(f'expected a string or {{"b64": "..."}}, found {shown(value)}')
    return _decode_base64(value["b64"])


def _decode_base64(text: str) -> bytes:
    """Standard alphabet; the padding may be left off, as TF Serving allows."""
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise _Misfit(f"not base64 of the standard alphabet: {error}") from None


_LEAVES: dict[Family, Callable[[TensorSpec, Any], Any]] = {
    "float": _float_leaf,
    "integer": _integer_leaf,
    "bool": _bool_leaf,
    "string": _string_leaf,
}
