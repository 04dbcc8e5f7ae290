"""JSON lines to tensors, as TF Serving's REST API reads the elements of `instances`.

A line is a bare value where the signature has one input, else an object with exactly the
signature's inputs as keys. `{"b64": "..."}` is bytes. Integers become floats where the input is
float; nothing else is converted. Each row fits the shape of the signature; where that leaves a
dimension open, rows of one batch may differ, and are grouped by their shapes. An input that has a
default in the signature may be missing.
Source: tensorflow_serving/util/json_tensor.cc (FillPredictRequestFromJson); it leaves the
signature's shape unchecked, here it is checked.

Three paths read a batch, in this order. Two fast paths take regular rows: numbers as one buffer
(number_rows.py), other types input by input (columns.py). The slow path (slow_path.py) reads value
by value and reports row errors. All paths give the same tensors.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from app.codec.columns import read_columns
from app.codec.json_values import InvalidJson, parse_json
from app.codec.number_rows import NumberRowReader
from app.codec.row_cost import are_costly_numbers, without_costly_rows
from app.codec.row_groups import RowGroup, group_by_shape, one_group
from app.codec.slow_path import Misfit, check_shape, fits, input_values, read_row
from app.errors import RowError
from app.framing.lines import Lines
from app.framing.records import RowErrorSink
from tfserving_launcher import Signature
from tfserving_launcher.tensors import Array, family


class InstanceEncoder:
    """Encodes the batches of one file as tensors. `on_row_error` receives each invalid row.

    Rows that would take several times `max_line_bytes` of memory as Python objects are invalid.
    `integer_strings` accepts whole numbers in strings for numeric inputs. `as_instance` converts
    each row on the slow path, or raises Misfit.
    """

    def __init__(
        self,
        signature: Signature,
        on_row_error: RowErrorSink,
        *,
        integer_strings: bool = False,
        max_line_bytes: int = sys.maxsize,
        as_instance: Callable[[Any], Any] = lambda row: row,
    ) -> None:
        self._integer_strings = integer_strings
        self._max_line_bytes = max_line_bytes
        self._as_instance = as_instance
        # An input without a batch dimension has no value per row, only a default.
        self._inputs = {name: spec for name, spec in signature.inputs.items() if spec.shape != ()}
        self._defaults = signature.defaults
        self._required = {
            name: spec for name, spec in self._inputs.items() if name not in self._defaults
        }
        self._on_row_error = on_row_error
        self._numbers: NumberRowReader | None = None
        if len(self._required) == 1:
            ((name, spec),) = self._required.items()
            if family(spec.dtype) in ("float", "integer"):
                self._numbers = NumberRowReader(name, spec)

    def encode(self, batch: Lines) -> tuple[RowGroup, ...]:
        """Encode the valid rows: usually one group, none if no row is valid."""
        if (tensors := self._as_numbers(batch)) is not None:
            return one_group(tensors)
        batch = without_costly_rows(batch, self._max_line_bytes, self._on_row_error)
        groups = self._as_columns(batch)
        return self.slow(batch) if groups is None else groups

    def fast(self, batch: Lines) -> tuple[RowGroup, ...] | None:
        """Encode as `slow` does, or return None if any row is irregular."""
        tensors = self._as_numbers(batch)
        return self._as_columns(batch) if tensors is None else one_group(tensors)

    def _fit(self, tensors: dict[str, Array]) -> bool:
        return all(fits(tensor.shape[1:], self._inputs[name]) for name, tensor in tensors.items())

    def slow(self, batch: Lines) -> tuple[RowGroup, ...]:
        """Encode row by row, without invalid rows, or up to the first one if it ends the job."""
        rows: list[dict[str, Array]] = []
        for number, text in batch.rows():
            try:
                instance = self._as_instance(parse_json(text))
                values = input_values(instance, self._inputs, self._required)
                row = {}
                for name, value in values.items():
                    spec = self._inputs[name]
                    row[name] = read_row(value, spec, name, integer_strings=self._integer_strings)
                    check_shape(row[name].shape, spec, name)
            except InvalidJson as error:
                go_on = self._on_row_error(RowError(number, None, str(error)), text)
            except Misfit as misfit:
                go_on = self._on_row_error(RowError(number, misfit.field, str(misfit)), text)
            else:
                rows.append(row)
                continue
            if not go_on:
                break
        return group_by_shape(self._with_defaults(rows))

    def _with_defaults(self, rows: list[dict[str, Array]]) -> list[dict[str, Array]]:
        """Fill in the default of an input that only some rows give, if it is a default for one row.

        Other rows become a group without that input: the server applies the default.
        """
        given = {name for row in rows for name in row}
        defaults = {name: self._default_row(name) for name in given if name in self._defaults}
        added = {name: default for name, default in defaults.items() if default is not None}
        return [{**added, **row} for row in rows] if added else rows

    def _default_row(self, name: str) -> Array | None:
        """The default for one row, if the signature's default is a batch of one; else None."""
        default, spec = self._defaults[name], self._inputs[name]
        if spec.shape is None or default.ndim != len(spec.shape) or len(default) != 1:
            return None
        return default.reshape(default.shape[1:])

    def _as_numbers(self, batch: Lines) -> dict[str, Array] | None:
        if self._numbers is None or are_costly_numbers(batch, self._max_line_bytes):
            return None
        tensor = self._numbers.read(batch)
        if tensor is None:
            return None
        tensors = {next(iter(self._required)): tensor}
        return tensors if self._fit(tensors) else None

    def _as_columns(self, batch: Lines) -> tuple[RowGroup, ...] | None:
        texts = [text for _, text in batch.rows()]
        if not texts:
            return None
        read = partial(read_columns, texts, integer_strings=self._integer_strings)
        groups = read(self._inputs)
        if groups is None and self._defaults:
            groups = read(self._required)
        if groups is None or not all(self._fit(group.tensors) for group in groups):
            return None
        return groups
