"""Tables: RFC 4180 with a header. Types are the signature's; an empty cell is a string or a fault.

As for JSON lines there is a quick way, which gives up where anything is not as expected, and a
careful one, row by row, which finds the fault or agrees.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray

from app.careful_rows import Misfit, Shape, check_shape, read_row
from app.errors import RowFault, UnsupportedInput
from app.formats.csv_cells import (
    booleans,
    json_list,
    json_value,
    parse_rows,
    text_json,
    typed_json,
)
from app.formats.csv_columns import CsvColumns, match_columns
from app.formats.csv_records import read_records
from app.formats.jsonl import companion_names
from app.formats.reader import Companions, Instances, Opening
from app.lines import Lines
from app.number_rows import NumberDocument
from app.signatures import takes_examples
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, string_array

_COMMA, _OPENING, _CLOSING = b",[]"


class CsvReader:
    """An InstanceReader for tables. Rows are counted from 1, after the header."""

    unit: ClassVar[str] = "row"

    def __init__(self, opening: Opening, *, instance_as_columns: bool) -> None:
        signature = opening.signature
        if takes_examples(signature):
            raise UnsupportedInput(
                f"{opening.file}: signature {signature.name} takes features, whose types a table"
                " does not tell; give it JSON lines or tfrecord"
            )
        self._signature = signature
        self._fields = opening.fields
        self._on_fault = opening.on_fault
        self._file = opening.file
        self._max_line_bytes = opening.max_line_bytes
        self._instance_as_columns = instance_as_columns and opening.fields.include_instance
        self._columns = CsvColumns((), {}, None, None)
        self._row_shapes: dict[str, Shape] = {}
        self._documents = {
            name: NumberDocument(spec)
            for name, spec in signature.inputs.items()
            if family(spec.dtype) in ("float", "integer")
        }

    def read(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        """All rows after the header. Raises UnsupportedInput where that does not fit."""
        header_is_read = False
        for records in read_records(
            blocks, max_record_bytes=self._max_line_bytes, on_fault=self._on_fault
        ):
            rows = records
            if not header_is_read:
                found = self.rows(records)
                if records.dropped and (not found or min(records.dropped) < found[0][0]):
                    raise UnsupportedInput(f"{self._file}: the header is no row of a table")
                if not found:
                    continue
                self._columns = self._match(found[0][1])
                header_is_read = True
                rows = records.part(found[0][0] - records.first + 1, len(records.ends))
            if len(rows.ends):
                yield rows

    def _match(self, header: bytes) -> CsvColumns:
        try:
            (names,) = parse_rows([header])
            texts = tuple(name.decode() for name in names)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UnsupportedInput(f"{self._file}: the header cannot be read: {error}") from None
        return match_columns(texts, self._signature, self._fields, self._file)

    def instances(self, batch: Lines) -> Instances:
        if not _is_plain_text(batch.text):
            return self._careful(self.rows(batch))
        if not companion_names(self._fields) and (tensor := self._flat(batch)) is not None:
            assert self._columns.vector is not None
            return Instances({self._columns.vector: tensor})
        rows = self.rows(batch)
        cells = self._cells(rows, has_quotes=b'"' in batch.text)
        tensors = None if cells is None else self._by_columns(cells)
        if cells is None or tensors is None:
            return self._careful(rows)
        return Instances(tensors, self._companions(cells))

    def rows(self, batch: Lines) -> list[tuple[int, bytes]]:
        """Blanks are the cell of a table with one column, so only a line of nothing is no row."""
        return [
            (number, text)
            for number, text in batch.numbered()
            if text and text != b"\r" and number not in batch.dropped
        ]

    def _flat(self, batch: Lines) -> Array | None:
        """The quickest way: all cells are the numbers of one vector, read as one list."""
        columns = self._columns
        if columns.vector is None or b'"' in batch.text or batch.dropped:
            return None
        size = len(columns.names)
        if columns.inputs[columns.vector] != tuple(range(size)):
            return None
        document = self._documents[columns.vector]
        text = document.memory(len(batch.text) + 1)
        text[0] = _OPENING
        text[1:] = np.frombuffer(batch.text, np.uint8)
        commas = _counts_before(text == _COMMA, batch.ends + 1)
        if (np.diff(commas, prepend=0) != size - 1).any():
            return None
        text[batch.ends + 1] = _COMMA
        text[-1] = _CLOSING
        values = document.read(text, rows=size * len(batch.ends), rank=0)
        return None if values is None else values.reshape(-1, size)

    def _cells(
        self, rows: list[tuple[int, bytes]], *, has_quotes: bool
    ) -> list[tuple[bytes, ...]] | None:
        """The columns, or None where rows have different numbers of cells."""
        texts = [text for _, text in rows]
        if not has_quotes:
            cells = [text.removesuffix(b"\r").split(b",") for text in texts]
        else:
            try:
                cells = parse_rows(texts)
            except (csv.Error, UnicodeDecodeError):
                return None
        if set(map(len, cells)) != {len(self._columns.names)}:
            return None
        return list(zip(*cells, strict=True))

    def _by_columns(self, cells: list[tuple[bytes, ...]]) -> dict[str, Array] | None:
        tensors = {}
        for name, places in self._columns.inputs.items():
            spec = self._signature.inputs[name]
            if self._columns.vector is None and spec.shape is not None and len(spec.shape) != 1:
                return None
            arrays = [self._column(name, spec, cells[place]) for place in places]
            present = [array for array in arrays if array is not None]
            if len(present) < len(arrays):
                return None
            is_vector = self._columns.vector is not None
            tensors[name] = np.stack(present, axis=1) if is_vector else present[0]
        return tensors

    def _column(self, name: str, spec: TensorSpec, cells: tuple[bytes, ...]) -> Array | None:
        kind = family(spec.dtype)
        if kind == "string":
            return string_array(cells)
        if kind == "bool":
            return booleans(cells)
        text = b"[" + b",".join(cells) + b"]"
        document = self._documents[name]
        memory = document.memory(len(text))
        memory[:] = np.frombuffer(text, np.uint8)
        return document.read(memory, rows=len(cells), rank=0)

    def _careful(self, rows: list[tuple[int, bytes]]) -> Instances:
        """Row by row, without those that do not fit; up to the first, where that ends it all."""
        good: list[tuple[bytes, ...]] = []
        values: dict[str, list[Array]] = {name: [] for name in self._columns.inputs}
        for number, text in rows:
            try:
                cells = self._row(text)
                row = {
                    name: self._value(name, [cells[place] for place in places], places)
                    for name, places in self._columns.inputs.items()
                }
                for name, value in row.items():
                    spec = self._signature.inputs[name]
                    first = self._row_shapes.get(name, value.shape)
                    check_shape(value.shape, spec, first, name)
            except Misfit as misfit:
                if not self._on_fault(RowFault(number, misfit.field, str(misfit)), text):
                    break
            else:
                good.append(cells)
                for name, value in row.items():
                    self._row_shapes.setdefault(name, value.shape)
                    values[name].append(value)
        if not good:
            return Instances({})
        columns = list(zip(*good, strict=True))
        tensors = {name: np.stack(arrays) for name, arrays in values.items()}
        return Instances(tensors, self._companions(columns))

    def _row(self, text: bytes) -> tuple[bytes, ...]:
        try:
            (cells,) = parse_rows([text])
        except csv.Error as error:
            raise Misfit(f"no row of a table: {error}") from None
        except UnicodeDecodeError as error:
            raise Misfit(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from None
        expected = len(self._columns.names)
        if len(cells) != expected:
            raise Misfit(f"expected {expected} cells, as in the header, found {len(cells)}")
        return tuple(cells)

    def _value(self, name: str, cells: list[bytes], places: tuple[int, ...]) -> Array:
        spec = self._signature.inputs[name]
        columns = [self._columns.names[place] for place in places]
        if self._columns.vector is None:
            read = json_value if spec.shape is None or len(spec.shape) == 1 else json_list
            return read_row(read(cells[0], spec, columns[0]), spec, name)
        one = TensorSpec(spec.dtype, (None,))
        return np.stack(
            [
                read_row(json_value(cell, spec, column), one, column)
                for cell, column in zip(cells, columns, strict=True)
            ]
        )

    def companion_names(self) -> tuple[str, ...]:
        """What is written beside each prediction; known once the header is."""
        if not self._instance_as_columns:
            return companion_names(self._fields)
        # The key is one of them.
        return self._columns.names

    def _companions(self, columns: list[tuple[bytes, ...]]) -> Companions:
        names = companion_names(self._fields)
        if not names:
            return Companions()
        rows = [self._companions_of(cells) for cells in zip(*columns, strict=True)]
        return Companions(names, rows)

    def _companions_of(self, cells: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if self._instance_as_columns:
            return tuple(map(text_json, cells))
        companions = []
        if self._columns.key is not None:
            companions.append(text_json(cells[self._columns.key]))
        if self._fields.include_instance:
            companions.append(self._instance(cells))
        return tuple(companions)

    def _instance(self, cells: tuple[bytes, ...]) -> bytes:
        """The row as an object: numbers and booleans where the model takes such, else strings."""
        typed = {
            place
            for name, places in self._columns.inputs.items()
            if family(self._signature.inputs[name].dtype) != "string"
            for place in places
        }
        members = [
            orjson.dumps(name) + b":" + (typed_json(cell) if place in typed else text_json(cell))
            for place, (name, cell) in enumerate(zip(self._columns.names, cells, strict=True))
        ]
        return b"{" + b",".join(members) + b"}"

    def shown(self, text: bytes) -> bytes:
        """An object by the header, or the text where it is no row of this table."""
        try:
            return self._instance(self._row(text))
        except Misfit:
            return orjson.dumps(text.decode(errors="replace"))

    def key(self, text: bytes) -> bytes | None:
        if self._columns.key is None:
            return None
        try:
            return text_json(self._row(text)[self._columns.key])
        except Misfit:
            return None


def _counts_before(mask: NDArray[np.bool_], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many of `mask` are true before each place: 64 at a time, or it would take a third of all
    that is done to a row of numbers.
    """
    packed = np.packbits(mask, bitorder="little")
    words = np.zeros(len(packed) // 8 + 1, "<u8")
    words.view(np.uint8)[: len(packed)] = packed
    before = np.concatenate(([0], np.cumsum(np.bitwise_count(words), dtype=np.intp)))
    word, bit = np.divmod(places, 64)
    beginning = words[word] & ((np.uint64(1) << bit.astype(np.uint64)) - np.uint64(1))
    counts: NDArray[np.intp] = before[word] + np.bitwise_count(beginning)
    return counts


def _is_plain_text(text: bytes) -> bool:
    """UTF-8, with CR only at line ends: what the careful way would not complain of."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return False
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False
