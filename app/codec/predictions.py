"""Converts tensors to JSON lines, as TF Serving's REST API writes the elements of `predictions`.

A line is the bare value where the signature has one output, else an object with the outputs
sorted by name. Outputs whose names end in `_bytes` are `{"b64": "..."}`; other strings must be
UTF-8. Floats print their shortest form, and NaN and the infinities the strings that the protobuf
JSON mapping gives them (protobuf.dev/programming-guides/json). Integers print every digit.
Source: tensorflow_serving/util/json_tensor.cc (MakeRowFormatJsonFromTensors).
"""

import math
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson

from app.codec.signatures import left_out_by
from app.errors import InvalidModel
from tfserving_launcher.tensors import Array, dtype_name, family

_BYTES_SUFFIX = "_bytes"
# The most values of one row that are encoded at once.
_PIECE_VALUES = 256 * 1024


class NotText(InvalidModel):
    """A string is not UTF-8, and its output's name does not end in `_bytes`."""


def encode_predictions(outputs: Mapping[str, Array], rows: int, *, rows_sent: int) -> bytes:
    """Encode the first `rows` rows as lines.

    `outputs` maps names to arrays [rows_sent, ...]. Raises InvalidModel for another number of rows,
    and NotText for text that is not UTF-8.
    """
    check_rows(outputs, rows_sent)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _lines(name, array[:rows])
    return b"".join([cell + b"\n" for cell in prediction_cells(outputs, rows)])


def prediction_cells(outputs: Mapping[str, Array], rows: int) -> list[bytes]:
    """The JSON of each of the first `rows` predictions. Raises InvalidModel."""
    columns = {name: json_column(name, outputs[name][:rows]) for name in sorted(outputs)}
    if len(columns) == 1:
        return next(iter(columns.values()))
    # A name may contain %, which the template must escape.
    keys = [orjson.dumps(name).replace(b"%", b"%%") for name in columns]
    template = b"{" + b",".join(key + b":%b" for key in keys) + b"}"
    return [template % cells for cells in zip(*columns.values(), strict=True)]


def prediction_pieces(outputs: Mapping[str, Array]) -> Iterator[bytes]:
    """Encode one row as `prediction_cells` does, in pieces of a few megabytes.

    `outputs` have one row. Raises NotText before the first piece.
    """
    cells = {
        name: json_column(name, array)[0]
        for name, array in outputs.items()
        if family(array.dtype) == "string"
    }

    def pieces() -> Iterator[bytes]:
        opening = b"{"
        for name, array in sorted(outputs.items()):
            if len(outputs) > 1:
                yield opening + orjson.dumps(name) + b":"
                opening = b","
            if name in cells:
                yield cells[name]
            else:
                yield from _array_pieces(array[0])
        if len(outputs) > 1:
            yield b"}"

    return pieces()


def _array_pieces(array: Array) -> Iterator[bytes]:
    if array.ndim == 0 or array.size <= _PIECE_VALUES:
        yield json_column("", array[np.newaxis])[0]
        return
    values = array.size // len(array)
    step = max(1, _PIECE_VALUES // values)
    yield b"["
    for start in range(0, len(array), step):
        if start:
            yield b","
        if values > _PIECE_VALUES:
            yield from _array_pieces(array[start])
        else:
            yield json_column("", array[np.newaxis, start : start + step])[0][1:-1]
    yield b"]"


def rows_without_text(outputs: Mapping[str, Array]) -> dict[int, str]:
    """Find rows with a string that is not UTF-8: messages by row index."""
    errors: dict[int, str] = {}
    for name, array in sorted(outputs.items()):
        if family(array.dtype) != "string":
            continue
        for row in range(len(array)):
            try:
                json_column(name, array[row : row + 1])
            except NotText as error:
                errors.setdefault(row, error.message)
    return errors


def check_rows(outputs: Mapping[str, Array], rows: int) -> None:
    """Raises InvalidModel where the first dimension of an output is not the batch."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise _no_batch(name, outputs, rows)


def _no_batch(name: str, outputs: Mapping[str, Array], rows: int) -> InvalidModel:
    shape = outputs[name].shape
    fitting = [other for other, array in outputs.items() if array.shape[:1] == (rows,)]
    fixed = f"; batch_size={shape[0]} where the model takes no other" if shape and shape[0] else ""
    of_rows = "1 row" if rows == 1 else f"{rows} rows"
    return InvalidModel(
        f"output {name} has the shape {list(shape)} for {of_rows}: its first dimension must be the"
        f" batch{left_out_by(fitting)}{fixed}",
        {"output": name},
    )


def _lines(name: str, array: Array) -> bytes:
    """The JSON of each row of one output, with an LF after each."""
    if family(array.dtype) == "string" or array.size == 0:
        return b"".join([cell + b"\n" for cell in json_column(name, array)])
    text, brackets = _dump(array)
    between_rows = b"]" * brackets + b"," + b"[" * brackets
    return text[1:-1].replace(between_rows, between_rows.replace(b",", b"\n")) + b"\n"


def json_column(name: str, array: Array) -> list[bytes]:
    """The JSON of each row of one output."""
    if family(array.dtype) == "string":
        return _string_column(name, array)
    if array.size == 0:
        return [orjson.dumps(row) for row in array.tolist()]
    text, brackets = _dump(array)
    opening, closing = b"[" * brackets, b"]" * brackets
    cells = text[1 + brackets : -1 - brackets].split(closing + b"," + opening)
    return [opening + cell + closing for cell in cells] if brackets else cells


def _dump(array: Array) -> tuple[bytes, int]:
    """Encode a non-empty array; return its JSON, and the number of brackets around a row.

    Only between rows do that many brackets close and open around a comma.
    """
    if family(array.dtype) == "float" and array.dtype.itemsize < np.dtype(np.float32).itemsize:
        array = array.astype(np.float32)
    elif dtype_name(array.dtype) in ("int4", "uint4"):
        array = array.astype(np.int8)
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if family(array.dtype) == "float" and not np.isfinite(array).all():
        text = _name_non_finite(text, array)
    return text, array.ndim - 1


def _name_non_finite(text: bytes, array: Array) -> bytes:
    """Replace the nulls that orjson writes for NaN and infinities by their names."""
    values = array[~np.isfinite(array)]
    names = [_name(value) for value in values.tolist()]
    pieces = zip(text.split(b"null"), [*names, b""], strict=True)
    return b"".join(chain.from_iterable(pieces))


def _name(value: float) -> bytes:
    if math.isnan(value):
        return b'"NaN"'
    return b'"Infinity"' if value > 0 else b'"-Infinity"'


def _string_column(name: str, array: Array) -> list[bytes]:
    if name.endswith(_BYTES_SUFFIX):
        return [orjson.dumps(_map_leaves(row, _as_base64)) for row in array.tolist()]
    try:
        return [orjson.dumps(_map_leaves(row, bytes.decode)) for row in array.tolist()]
    except UnicodeDecodeError as error:
        raise NotText(
            f"output {name} is not UTF-8 text ({error.reason} at byte {error.start}); an output"
            f" whose name ends in {_BYTES_SUFFIX} is written as base64: export it as"
            f" {name}{_BYTES_SUFFIX}",
            {"output": name},
        ) from None


def _map_leaves(value: Any, change: Callable[[bytes], Any]) -> Any:
    if isinstance(value, list):
        return [_map_leaves(element, change) for element in value]
    return change(value)


def _as_base64(value: bytes) -> dict[str, str]:
    return {"b64": b64encode(value).decode("ascii")}
