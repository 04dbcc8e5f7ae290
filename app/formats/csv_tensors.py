"""Rows of a table to tensors, where columns are inputs or the numbers of one."""

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
    """Turns rows of one table into tensors, in three ways that agree where they give anything."""

    # How the cells of each column look in JSON.
    cell_json: list[Callable[[bytes], bytes]]

    def batch(self, batch: Lines) -> dict[str, Array] | None:
        """Tensors of a whole text without quotes, or None where it has to be cut into cells."""

    def columns(self, cells: list[tuple[bytes, ...]]) -> dict[str, Array] | None:
        """Tensors from the cells of each column, or None where anything is not as expected."""

    def row(self, cells: tuple[bytes, ...]) -> dict[str, Array]:
        """The value of each input in one row. Raises Misfit."""


class TensorEncoder:
    """A RowEncoder for columns that are inputs, or the numbers of one input.

    Making one raises UnsupportedInput where the header does not fit the signature.
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
        """Which columns make a row, in order; None where it is all of them, as they are."""
        indices = next(iter(self._indices.values()))
        return None if indices == tuple(range(len(self._names))) else np.array(indices, np.intp)

    def batch(self, batch: Lines) -> dict[str, Array] | None:
        """The quickest way: all cells are numbers, read as one list."""
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
            # A column that the model does not see may hold no numbers, and then in every batch.
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
    """How many of `mask` are true before each index: 64 at a time, or it would take a third of all
    that is done to a row of numbers.
    """
    packed = np.packbits(mask, bitorder="little")
    words = np.zeros(len(packed) // 8 + 1, "<u8")
    words.view(np.uint8)[: len(packed)] = packed
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(words), dtype=np.intp)))
    word, bit = np.divmod(indices, 64)
    beginning = words[word] & ((np.uint64(1) << bit.astype(np.uint64)) - np.uint64(1))
    counts: NDArray[np.intp] = before[word] + np.bitwise_count(beginning)
    return counts
