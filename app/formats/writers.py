"""Writers of predictions, one for each output format."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Protocol

import orjson

from app.codec.classifications import classification_cells, regression_cells
from app.codec.predictions import (
    check_rows,
    encode_predictions,
    json_column,
    prediction_cells,
    prediction_pieces,
)
from app.codec.signatures import VALUES, classifies, regresses
from app.config.file_format import OutputFormat
from app.errors import InvalidArgument, InvalidModel
from app.formats.context import PassthroughFields
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import Array, family

_TO_BE_QUOTED = (b",", b'"', b"\n", b"\r")


class PredictionWriter(Protocol):
    """Encodes the predictions of one signature, one line per row."""

    def header(self, passthrough_names: tuple[str, ...]) -> bytes:
        """The header line. Raises InvalidArgument if column names clash."""

    def encode(
        self,
        outputs: Mapping[str, Array],
        passthrough: PassthroughFields,
        rows: int,
        *,
        rows_sent: int,
    ) -> bytes:
        """Encode the first `rows` rows. Raises InvalidModel if an output cannot be written."""

    def encode_large_row(
        self, outputs: Mapping[str, Array], passthrough: PassthroughFields
    ) -> Iterable[bytes]:
        """Encode a single row in pieces. Raises as `encode` does, before the first piece."""


def prediction_writer(output_format: OutputFormat, signature: Signature) -> PredictionWriter:
    """The writer for a format. Raises InvalidArgument if it cannot hold the signature's outputs."""
    return JsonLinesWriter(signature) if output_format == "jsonl" else CsvWriter(signature)


class JsonLinesWriter:
    """`prediction`, or `{"key": ..., "instance": ..., "prediction": ...}`, on each line."""

    def __init__(self, signature: Signature) -> None:
        self._cells: Callable[[Mapping[str, Array], int], list[bytes]] = prediction_cells
        if classifies(signature):
            self._cells = classification_cells
        elif regresses(signature):
            self._cells = regression_cells

    def header(self, passthrough_names: tuple[str, ...]) -> bytes:
        del passthrough_names  # each line contains them
        return b""

    def encode(
        self,
        outputs: Mapping[str, Array],
        passthrough: PassthroughFields,
        rows: int,
        *,
        rows_sent: int,
    ) -> bytes:
        if not passthrough.names and self._cells is prediction_cells:
            return encode_predictions(outputs, rows, rows_sent=rows_sent)
        check_rows(outputs, rows_sent)
        cells = self._cells(outputs, rows)
        if not passthrough.names:
            return b"".join([cell + b"\n" for cell in cells])
        members = [orjson.dumps(name) + b":%b" for name in (*passthrough.names, "prediction")]
        template = b"{" + b",".join(members) + b"}\n"
        rows_of_members = zip(passthrough.rows, cells, strict=True)
        return b"".join([template % (*beside, cell) for beside, cell in rows_of_members])

    def encode_large_row(
        self, outputs: Mapping[str, Array], passthrough: PassthroughFields
    ) -> Iterable[bytes]:
        if self._cells is not prediction_cells:
            return [self.encode(outputs, passthrough, 1, rows_sent=1)]
        check_rows(outputs, 1)
        if not passthrough.names:
            return chain(prediction_pieces(outputs), [b"\n"])
        (beside,) = passthrough.rows
        members = [
            orjson.dumps(name) + b":" + text
            for name, text in zip(passthrough.names, beside, strict=True)
        ]
        opening = b"{" + b",".join(members) + b',"prediction":'
        return chain([opening], prediction_pieces(outputs), [b"}\n"])


class CsvWriter:
    """A table: first the passthrough fields, then the outputs by name.

    A vector has a column for each number, `scores_0` and so on; a regression is one number. Strings
    are quoted where needed; those of an output `..._bytes` are base64.
    """

    def __init__(self, signature: Signature) -> None:
        self._regresses = regresses(signature)
        self._columns = (
            [VALUES]
            if self._regresses
            else [
                column
                for name in sorted(signature.outputs)
                for column in _columns(name, signature.outputs[name])
            ]
        )
        self._outputs = signature.outputs

    def header(self, passthrough_names: tuple[str, ...]) -> bytes:
        names = (*passthrough_names, *self._columns)
        if clash := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidArgument(
                f"output_format: two columns of the table would be called {clash[0]}",
                {"parameters": ["output_format"]},
            )
        return b",".join(_quoted(name.encode()) for name in names) + b"\n"

    def encode(
        self,
        outputs: Mapping[str, Array],
        passthrough: PassthroughFields,
        rows: int,
        *,
        rows_sent: int,
    ) -> bytes:
        check_rows(outputs, rows_sent)
        if self._regresses:
            columns = [_without_brackets(regression_cells(outputs, rows))]
        else:
            columns = self._output_columns(outputs, rows)
        beside: list[list[bytes]] = [
            [_as_cell(text) for text in column] for column in zip(*passthrough.rows, strict=True)
        ]
        lines = zip(*beside, *columns, strict=True)
        return b"".join([b",".join(cells) + b"\n" for cells in lines])

    def encode_large_row(
        self, outputs: Mapping[str, Array], passthrough: PassthroughFields
    ) -> Iterable[bytes]:
        return [self.encode(outputs, passthrough, 1, rows_sent=1)]

    def _output_columns(self, outputs: Mapping[str, Array], rows: int) -> list[list[bytes]]:
        for name, array in outputs.items():
            _check_shape(name, array, self._outputs[name])
        return [
            _cells(name, outputs[name][:rows])
            for name in sorted(outputs)
            # An output of empty vectors has no column.
            if outputs[name].size
        ]


def _columns(name: str, spec: TensorSpec) -> Iterable[str]:
    match spec.shape:
        case (_,):
            return [name]
        case (_, int(size)):
            return [f"{name}_{index}" for index in range(size)]
    raise InvalidArgument(
        f"output_format: output {name} is {spec}, which has no flat form; a table holds scalars and"
        " vectors whose size the signature tells",
        {"parameters": ["output_format"]},
    )


def _check_shape(name: str, array: Array, spec: TensorSpec) -> None:
    assert spec.shape is not None
    if array.shape[1:] != spec.shape[1:]:
        raise InvalidModel(
            f"output {name} is {spec} by its signature, and has the shape {list(array.shape)}",
            {"output": name},
        )


def _cells(name: str, array: Array) -> list[bytes]:
    """Each row's cells as one text."""
    texts = json_column(name, array)
    if family(array.dtype) != "string":
        return _without_brackets(texts)
    rows = [orjson.loads(text) for text in texts]
    return [b",".join(map(_string_cell, row if isinstance(row, list) else [row])) for row in rows]


def _without_brackets(texts: list[bytes]) -> list[bytes]:
    """Convert JSON numbers to cells. NaN and infinities are the only strings."""
    return [text.strip(b"[]").replace(b'"', b"") for text in texts]


def _string_cell(value: str | dict[str, str]) -> bytes:
    return _quoted((value if isinstance(value, str) else value["b64"]).encode())


def _as_cell(text: bytes) -> bytes:
    """Convert a JSON text to a cell: strings unquoted, everything else unchanged."""
    return _quoted(orjson.loads(text).encode() if text.startswith(b'"') else text)


def _quoted(cell: bytes) -> bytes:
    # Quote empty cells too: a row of one empty cell would be an empty line.
    if cell and not any(mark in cell for mark in _TO_BE_QUOTED):
        return cell
    return b'"' + cell.replace(b'"', b'""') + b'"'
