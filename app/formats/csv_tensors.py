"""Converts rows of a table to tensors; columns are inputs, or the numbers of one input."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.codec.casting import ends_in_one, holds_one_value, with_last_dimension
from app.codec.number_rows import NumberDocument
from app.codec.slow_path import check_shape, read_row
from app.formats.csv_cells import (
    booleans,
    is_list,
    json_list,
    json_value,
    json_value_or_list,
    text_json,
    typed_json,
)
from app.formats.csv_columns import match_inputs
from app.formats.csv_header import Header
from app.framing.lines import Lines
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import Array, family, string_array

_COMMA, _OPENING, _CLOSING = b",[]"


class RowEncoder(Protocol):
    """Encodes rows of one table as tensors, on three paths with the same results."""

    # For each column, converts a cell to JSON.
    cell_json: list[Callable[[bytes], bytes]]

    def batch(self, batch: Lines) -> dict[str, Array] | None:
        """Encode a text without quotes at once; None if it must be split into cells."""

    def columns(self, cells: list[tuple[bytes, ...]]) -> dict[str, Array] | None:
        """Encode the cells of each column; None if any is irregular."""

    def row(self, cells: tuple[bytes, ...]) -> dict[str, Array]:
        """Encode one row. Raises Misfit."""


class TensorEncoder:
    """A RowEncoder for columns that are inputs, or the numbers of one input.

    Raises UnsupportedInput if the header does not fit the signature.
    """

    def __init__(
        self, header: Header, signature: Signature, file: str, delimiter: str = ","
    ) -> None:
        columns = match_inputs(header, signature, file)
        self._names = header.names
        self._delimiter = ord(delimiter)
        self._indices = columns.indices
        self._row_shape = columns.row_shape
        self._specs = {name: signature.inputs[name] for name in columns.indices}
        self._documents = {
            name: NumberDocument(spec)
            for name, spec in self._specs.items()
            if family(spec.dtype) in ("float", "integer")
        }
        typed = {
            index
            for name, indices in columns.indices.items()
            if family(self._specs[name].dtype) != "string"
            for index in indices
        }
        self.cell_json: list[Callable[[bytes], bytes]] = [
            typed_json if index in typed else text_json for index in range(len(self._names))
        ]
        self._chosen = self._chosen_columns()
        self._reads_whole_text = self._row_shape is not None

    def _chosen_columns(self) -> NDArray[np.intp] | None:
        """The columns of a row in order; None for all columns in table order."""
        indices = next(iter(self._indices.values()))
        return None if indices == tuple(range(len(self._names))) else np.array(indices, np.intp)

    def batch(self, batch: Lines) -> dict[str, Array] | None:
        """The fastest path: all cells are numbers, parsed as one list."""
        if not self._reads_whole_text:
            return None
        assert self._row_shape is not None
        ((name, document),) = self._documents.items()
        size = len(self._names)
        text = document.memory(len(batch.text) + 1)
        text[0] = _OPENING
        text[1:] = np.frombuffer(batch.text, np.uint8)
        if self._delimiter != _COMMA:
            if b"," in batch.text:
                return None
            text[text == self._delimiter] = _COMMA
        commas = _counts_before(text == _COMMA, batch.ends + 1)
        if (np.diff(commas, prepend=0) != size - 1).any():
            return None
        text[batch.ends + 1] = _COMMA
        text[-1] = _CLOSING
        values = document.read(text, rows=size * len(batch.ends), rank=0)
        if values is None:
            # A hidden column that holds text does so in every batch.
            self._reads_whole_text = self._chosen is None
            return None
        if self._chosen is not None:
            values = values.reshape(-1, size)[:, self._chosen]
        return {name: np.ascontiguousarray(values).reshape(-1, *self._row_shape)}

    def columns(self, cells: list[tuple[bytes, ...]]) -> dict[str, Array] | None:
        tensors = {}
        for name, indices in self._indices.items():
            spec = self._specs[name]
            if self._row_shape is None and not holds_one_value(spec):
                return None
            arrays = [self._column(name, spec, cells[index]) for index in indices]
            present = [array for array in arrays if array is not None]
            if len(present) < len(arrays):
                return None
            if self._row_shape is None:
                tensors[name] = with_last_dimension(present[0], spec)
            else:
                tensors[name] = np.stack(present, axis=1).reshape(-1, *self._row_shape)
        return tensors

    def _column(self, name: str, spec: TensorSpec, cells: tuple[bytes, ...]) -> Array | None:
        kind = family(spec.dtype)
        if kind == "string":
            if ends_in_one(spec) and any(map(is_list, cells)):
                return None
            return string_array(cells)
        if kind == "bool":
            return booleans(cells)
        text = b"[" + b",".join(cells) + b"]"
        document = self._documents[name]
        memory = document.memory(len(text))
        memory[:] = np.frombuffer(text, np.uint8)
        return document.read(memory, rows=len(cells), rank=0)

    def row(self, cells: tuple[bytes, ...]) -> dict[str, Array]:
        row = {
            name: self._value(name, [cells[index] for index in indices], indices)
            for name, indices in self._indices.items()
        }
        for name, value in row.items():
            check_shape(value.shape, self._specs[name], name)
        return row

    def _value(self, name: str, cells: list[bytes], indices: tuple[int, ...]) -> Array:
        spec = self._specs[name]
        columns = [self._names[index] for index in indices]
        if self._row_shape is None:
            read = json_list
            if holds_one_value(spec):
                read = json_value_or_list if ends_in_one(spec) else json_value
            return read_row(read(cells[0], spec, columns[0]), spec, name)
        one = TensorSpec(spec.dtype, (None,))
        numbers = [
            read_row(json_value(cell, spec, column), one, column)
            for cell, column in zip(cells, columns, strict=True)
        ]
        return np.stack(numbers).reshape(self._row_shape)


def _counts_before(mask: NDArray[np.bool_], indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count the true values before each index, 64 bits at a time.

    Counting bytes would take a third of the total time for rows of numbers.
    """
    packed = np.packbits(mask, bitorder="little")
    words = np.zeros(len(packed) // 8 + 1, "<u8")
    words.view(np.uint8)[: len(packed)] = packed
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(words), dtype=np.intp)))
    word, bit = np.divmod(indices, 64)
    beginning = words[word] & ((np.uint64(1) << bit.astype(np.uint64)) - np.uint64(1))
    counts: NDArray[np.intp] = before[word] + np.bitwise_count(beginning)
    return counts
