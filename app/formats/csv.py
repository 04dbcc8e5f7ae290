"""Tables: RFC 4180. The signature decides types. An empty cell is a string or a row error.

As for JSON lines, a fast path reads regular rows, and a slow path reads row by row and reports row
errors. Both give the same tensors.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from typing import ClassVar

import orjson

from app.codec.json_values import quoted_names
from app.codec.row_groups import group_by_shape, one_group
from app.codec.signatures import only_string_input, takes_examples
from app.codec.slow_path import Misfit
from app.errors import RowError, UnsupportedInput
from app.formats.context import Instances, PassthroughFields, ReaderContext
from app.formats.csv_cells import are_data, parse_rows, text_json
from app.formats.csv_examples import ExampleRowEncoder
from app.formats.csv_header import Header, number_columns, read_header
from app.formats.csv_tensors import RowEncoder, TensorEncoder
from app.formats.jsonl import passthrough_names
from app.framing.csv_records import read_records
from app.framing.lines import Lines
from tfserving_launcher.tensors import Array


class CsvReader:
    """An InstanceReader for tables. Rows are numbered from 1, without the header."""

    unit: ClassVar[str] = "row"

    def __init__(self, context: ReaderContext, *, instance_as_columns: bool) -> None:
        self._signature = context.signature
        self._parse_spec = context.parse_spec
        self._fields = context.fields
        self._on_row_error = context.on_row_error
        self._file = context.file
        self._max_line_bytes = context.max_line_bytes
        self._instance_as_columns = instance_as_columns and context.fields.include_instance
        self._delimiter = context.dialect.delimiter
        self._has_header = context.dialect.has_header
        self._header = Header((), frozenset(), (), None)
        self._encoder: RowEncoder | None = None

    def read(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        """Yield the rows after the header. Raises UnsupportedInput if the columns do not fit."""
        expects_header = self._has_header is not False
        for records in read_records(
            blocks,
            max_record_bytes=self._max_line_bytes,
            on_row_error=self._on_row_error,
            delimiter=self._delimiter.encode(),
            first=0 if expects_header else 1,
        ):
            rows = records
            if self._encoder is None:
                found = self.rows(records)
                if expects_header and records.dropped:
                    first_row = found[0][0] if found else sys.maxsize
                    if min(records.dropped) < first_row:
                        raise UnsupportedInput(f"{self._file}: the header is no row of a table")
                if not found:
                    continue
                self._header = self._read_header(found[0][1])
                self._encoder = self._open_encoder()
                if expects_header:
                    rows = records.part(found[0][0] - records.first + 1, len(records.ends))
            if len(rows.ends):
                yield rows

    def _read_header(self, first_row: bytes) -> Header:
        try:
            (cells,) = parse_rows([first_row], self._delimiter)
            texts = tuple(cell.decode() for cell in cells)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UnsupportedInput(f"{self._file}: the first row cannot be read: {error}") from None
        if self._has_header is False:
            return number_columns(len(texts), self._fields, self._file)
        if self._has_header is None and are_data(texts):
            raise UnsupportedInput(
                f"{self._file}: the first row is a row of numbers, {quoted_names(texts)}, and no"
                " header; csv_header=false takes it as data, csv_header=true as names"
            )
        return read_header(texts, self._fields, self._file)

    def _open_encoder(self) -> RowEncoder:
        """Choose the encoder: of features if the graph parses tf.Examples, else of inputs.

        Raises UnsupportedInput.
        """
        try:
            return self._encoder_of_columns()
        except UnsupportedInput as error:
            if hint := self._delimiter_hint():
                raise UnsupportedInput(f"{error.message}; {hint}") from None
            raise

    def _delimiter_hint(self) -> str:
        """The hint for a single column whose name contains another delimiter."""
        names = self._header.names
        for delimiter, text in ((";", ";"), ("\t", "tab"), ("|", "|"), (",", ",")):
            if len(names) == 1 and delimiter in names[0]:
                return f"where {text} separates the cells, csv_delimiter={text} says so"
        return ""

    def _encoder_of_columns(self) -> RowEncoder:
        inputs = self._signature.inputs
        if takes_examples(self._signature):
            ((name, spec),) = inputs.items()
            return ExampleRowEncoder(self._header, name, spec, self._parse_spec(), self._file)
        only = only_string_input(self._signature)
        if only is not None and not (self._header.is_given and only in self._header.seen_names):
            types = self._parse_spec()
            if types is not None:
                return ExampleRowEncoder(self._header, only, inputs[only], types, self._file)
        return TensorEncoder(self._header, self._signature, self._file, self._delimiter)

    def instances(self, batch: Lines) -> Instances:
        assert self._encoder is not None
        if not _is_plain_text(batch.text):
            return self._slow(self._encoder, self.rows(batch))
        has_quotes = b'"' in batch.text
        if not has_quotes and not batch.dropped and not passthrough_names(self._fields):
            tensors = self._encoder.batch(batch)
            if tensors is not None:
                return Instances(one_group(tensors))
        rows = self.rows(batch)
        cells = self._cells(rows, has_quotes=has_quotes)
        tensors = None if cells is None else self._encoder.columns(cells)
        if cells is None or tensors is None:
            return self._slow(self._encoder, rows)
        return Instances(one_group(tensors), self._passthrough(cells))

    def rows(self, batch: Lines) -> list[tuple[int, bytes]]:
        """The non-empty records: a line of blanks is a row of one cell."""
        return [
            (number, text)
            for number, text in batch.numbered()
            if text and text != b"\r" and number not in batch.dropped
        ]

    def _cells(
        self, rows: list[tuple[int, bytes]], *, has_quotes: bool
    ) -> list[tuple[bytes, ...]] | None:
        """The cells by column, or None if rows have different numbers of cells."""
        texts = [text for _, text in rows]
        if not has_quotes:
            delimiter = self._delimiter.encode()
            cells = [text.removesuffix(b"\r").split(delimiter) for text in texts]
        else:
            try:
                cells = parse_rows(texts, self._delimiter)
            except (csv.Error, UnicodeDecodeError):
                return None
        if set(map(len, cells)) != {len(self._header.names)}:
            return None
        return list(zip(*cells, strict=True))

    def _slow(self, encoder: RowEncoder, rows: list[tuple[int, bytes]]) -> Instances:
        """The slow path: row by row, without invalid rows, or up to the first one if it ends the
        job.
        """
        good: list[tuple[bytes, ...]] = []
        values: list[dict[str, Array]] = []
        for number, text in rows:
            try:
                cells = self._row(text)
                row = encoder.row(cells)
            except Misfit as misfit:
                if not self._on_row_error(RowError(number, misfit.field, str(misfit)), text):
                    break
            else:
                good.append(cells)
                values.append(row)
        columns = list(zip(*good, strict=True))
        return Instances(group_by_shape(values), self._passthrough(columns))

    def _row(self, text: bytes) -> tuple[bytes, ...]:
        try:
            (cells,) = parse_rows([text], self._delimiter)
        except csv.Error as error:
            raise Misfit(f"no row of a table: {error}") from None
        except UnicodeDecodeError as error:
            raise Misfit(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from None
        expected = len(self._header.names)
        if len(cells) != expected:
            where = "the header" if self._header.is_given else "the first row"
            raise Misfit(f"expected {expected} cells, as in {where}, found {len(cells)}")
        return tuple(cells)

    def passthrough_names(self) -> tuple[str, ...]:
        """The names of the passthrough fields, known once the header is read."""
        if not self._instance_as_columns:
            return passthrough_names(self._fields)
        # The key is among them.
        return self._header.names

    def _passthrough(self, columns: list[tuple[bytes, ...]]) -> PassthroughFields:
        names = passthrough_names(self._fields)
        if not names:
            return PassthroughFields()
        rows = [self._passthrough_of(cells) for cells in zip(*columns, strict=True)]
        return PassthroughFields(names, rows)

    def _passthrough_of(self, cells: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if self._instance_as_columns:
            return tuple(map(text_json, cells))
        passthrough = []
        if self._header.key is not None:
            passthrough.append(text_json(cells[self._header.key]))
        if self._fields.include_instance:
            passthrough.append(self._instance(cells))
        return tuple(passthrough)

    def _instance(self, cells: tuple[bytes, ...]) -> bytes:
        """The row as a JSON object: numbers and booleans by the signature's types, else strings."""
        assert self._encoder is not None
        columns = zip(self._header.names, self._encoder.cell_json, cells, strict=True)
        members = [orjson.dumps(name) + b":" + as_json(cell) for name, as_json, cell in columns]
        return b"{" + b",".join(members) + b"}"

    def as_json(self, text: bytes) -> bytes:
        """The row as an object, or its text if it does not match the header."""
        try:
            return self._instance(self._row(text))
        except Misfit:
            return orjson.dumps(text.decode(errors="replace"))

    def key(self, text: bytes) -> bytes | None:
        if self._header.key is None:
            return None
        try:
            return text_json(self._row(text)[self._header.key])
        except Misfit:
            return None


def _is_plain_text(text: bytes) -> bool:
    """Whether the text is UTF-8 with CR only at line ends, which the slow path requires."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return False
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False
