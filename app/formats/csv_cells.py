"""Parses the cells of a table, as tensors and as JSON."""

import csv
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from app.codec.json_values import InvalidJson, parse_json
from app.codec.slow_path import Misfit
from tfserving_launcher import TensorSpec
from tfserving_launcher.parse_spec import FeatureType
from tfserving_launcher.tensors import Array, dtype_name, family

# No integer dtype has as many digits.
_LONGEST_INTEGER = 40
# With fewer cells, 0 and 1 are as likely data as a header.
_FEWEST_COUNTED = 3
_BOOLEANS = {b"true": True, b"false": False}
_ARTICLES = {"float": "a number", "integer": "an integer", "bool": "true or false"}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

# Records have their own limit. The csv module's limit is global.
csv.field_size_limit(2**31 - 1)


def parse_rows(texts: list[bytes], delimiter: str) -> list[list[bytes]]:
    """Split complete records into cells. Raises csv.Error or UnicodeDecodeError."""
    lines = (text.removesuffix(b"\r").decode() for text in texts)
    return [
        list(map(str.encode, cells))
        for cells in csv.reader(lines, strict=True, delimiter=delimiter)
    ]


def json_value(cell: bytes, spec: TensorSpec, column: str) -> Any:
    """Convert a scalar's cell to its JSON value, or to its text if it does not match the dtype.

    Raises Misfit for an empty cell unless the input is a string.
    """
    kind = family(spec.dtype)
    text = cell.decode()
    if kind == "string":
        return text
    stripped = text.strip()
    if not stripped:
        raise Misfit(f"empty, expected {_ARTICLES[kind]} ({dtype_name(spec.dtype)})", column)
    if kind == "bool":
        return _BOOLEANS.get(stripped.lower().encode(), text)
    return _number(stripped, text)


def _number(stripped: str, text: str) -> int | float | str:
    """Parse a number, or return the text."""
    if _INTEGER.fullmatch(stripped) and len(stripped) <= _LONGEST_INTEGER:
        return int(stripped)
    is_finite = _DECIMAL.fullmatch(stripped) and not np.isinf(float(stripped))
    return float(stripped) if is_finite or _NOT_FINITE.fullmatch(stripped) else text


def feature_value(cell: bytes, wanted: FeatureType | None, column: str) -> Any:
    """Convert a cell to the value of a tf.Example's feature; None for a missing value.

    Without `wanted`, the graph does not parse the feature, and the cell decides its type. Raises
    Misfit.
    """
    if not cell or wanted == "bytes":
        return cell or None
    text = cell.decode()
    stripped = text.strip()
    number = _number(stripped, text)
    if wanted is None:
        # An integer of an unused feature may exceed 64 bits.
        return text if isinstance(number, int) and abs(number) >= 2**63 else number
    if not isinstance(number, str) or not stripped:
        return number if stripped else None
    if stripped.startswith("["):
        try:
            return parse_json(cell)
        except InvalidJson as error:
            raise Misfit(f"expected a number or a JSON list of such: {error}", column) from None
    return _BOOLEANS.get(stripped.lower().encode(), text)


def are_data(cells: Sequence[str]) -> bool:
    """Whether a first row consists of numbers, so that it cannot be a header.

    0, 1, 2, ... is a header: pandas names the columns of an array so.
    """
    numbers = [cell.strip() for cell in cells]
    if len(numbers) >= _FEWEST_COUNTED and numbers == list(map(str, range(len(numbers)))):
        return False
    return bool(numbers) and all(map(_DECIMAL.fullmatch, numbers))


def is_missing_number(cell: bytes) -> bool:
    """Whether the cell of a number is empty or NaN."""
    return cell.strip().lower().lstrip(b"+-") in (b"", b"nan")


def json_list(cell: bytes, spec: TensorSpec, column: str) -> Any:
    """Parse the JSON list in a cell of an input with more dimensions. Raises Misfit."""
    try:
        return parse_json(cell)
    except InvalidJson as error:
        expected = f"expected a JSON list of {dtype_name(spec.dtype)}"
        raise Misfit(f"{expected}: {error}", column) from None


def json_value_or_list(cell: bytes, spec: TensorSpec, column: str) -> Any:
    """Convert a cell that holds a value, or a JSON list of one.

    Raises Misfit as `json_value` does.
    """
    if is_list(cell):
        try:
            value = parse_json(cell)
        except InvalidJson:
            value = None
        if isinstance(value, list) and len(value) == 1:
            return value
    return json_value(cell, spec, column)


def is_list(cell: bytes) -> bool:
    """Whether the cell may hold a JSON list."""
    return cell.lstrip().startswith(b"[")


def text_json(cell: bytes) -> bytes:
    return orjson.dumps(cell.decode())


def typed_json(cell: bytes) -> bytes:
    stripped = cell.strip()
    if _JSON_NUMBER.fullmatch(stripped.decode()):
        return stripped
    if stripped.lower() in _BOOLEANS:
        return stripped.lower()
    return text_json(cell)


def booleans(cells: tuple[bytes, ...]) -> Array | None:
    """Parse booleans, ignoring case; None if a cell is something else."""
    values = [_BOOLEANS.get(cell.strip().lower()) for cell in cells]
    return None if None in values else np.array(values, np.bool_)
