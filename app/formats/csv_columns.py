"""Maps the columns of a table to the inputs of a signature."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

from app.codec.json_values import quoted_names
from app.errors import UnsupportedInput
from app.formats.csv_header import Header
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import family

_LIKE_A_KEY = re.compile(r"(?:^|[_ .-])(?:id|idx|index|key|uuid)$", re.IGNORECASE)
# A name that ends in a number, of at most 15 digits.
_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]{1,15})", re.DOTALL)
_SHOWN_MISSING = 3


@dataclass(frozen=True, slots=True)
class InputColumns:
    """The columns of each input: one, or all that hold the numbers of the only input.

    `row_shape` is the shape of those numbers in a row; None if each input has one column.
    """

    indices: dict[str, tuple[int, ...]]
    row_shape: tuple[int, ...] | None


def match_inputs(header: Header, signature: Signature, file: str) -> InputColumns:
    """Match columns to inputs by name, or all columns to the numbers of the only input.

    The columns of a vector keep the order of the header or of `included_fields`. Those of an input
    with more dimensions are sorted by the numbers in their names. Without a header, columns match
    the inputs in alphabetical order. Raises UnsupportedInput.
    """
    if not header.seen:
        raise UnsupportedInput(
            f"{file}: no column is an input; the header has"
            f" {header.quoted(range(len(header.names)))}"
        )
    seen = header.seen_names
    if len(signature.inputs) == 1:
        ((name, spec),) = signature.inputs.items()
        if not (header.is_given and name in seen) and family(spec.dtype) in ("float", "integer"):
            row_shape = _row_shape(spec, len(seen))
            if row_shape is not None:
                indices = _ByPosition(header, name, spec, prod(row_shape), file)
                found = indices.in_order() if len(row_shape) == 1 else indices.by_number()
                return InputColumns({name: found}, row_shape)
    if not header.is_given:
        return _match_by_order(header, signature, file)
    return _match_by_name(header, seen, signature, file)


def _match_by_order(header: Header, signature: Signature, file: str) -> InputColumns:
    inputs = [name for name, spec in signature.inputs.items() if spec.shape != ()]
    if len(inputs) != len(header.seen):
        raise UnsupportedInput(
            f"{file}: the signature takes {len(inputs)} columns, in this order:"
            f" {quoted_names(inputs)}; the table has {len(header.seen)} for it, without a header:"
            f" {header.quoted(header.seen)}; included_fields and excluded_fields say which columns"
            " it sees, and in which order"
        )
    return InputColumns(
        {name: (index,) for name, index in zip(inputs, header.seen, strict=True)}, None
    )


def _match_by_name(
    header: Header, seen: dict[str, int], signature: Signature, file: str
) -> InputColumns:
    # An input without a batch dimension has no value per row, only a default.
    inputs = {name: spec for name, spec in signature.inputs.items() if spec.shape != ()}
    if missing := [name for name in inputs if name not in seen and name not in signature.defaults]:
        raise UnsupportedInput(
            f"{file}: no column for the input {quoted_names(missing)} of the signature; the header"
            f" has {header.quoted(range(len(header.names)))}"
        )
    if unknown := [index for name, index in seen.items() if name not in inputs]:
        raise UnsupportedInput(
            f"{file}: the signature has no input {header.quoted(unknown)}, only"
            f" {quoted_names(inputs)}; {header.exclusion(unknown)}"
        )
    return InputColumns({name: (index,) for name, index in seen.items()}, None)


def _row_shape(spec: TensorSpec, columns: int) -> tuple[int, ...] | None:
    """The shape of a row with a column for each number; None if the input has no such form."""
    if spec.shape is None:
        return (columns,)
    match spec.shape[1:]:
        case ():
            return None
        case (None,):
            return (columns,)
        case inner:
            sizes = tuple(size for size in inner if size is not None)
            return sizes if len(sizes) == len(inner) else None


@dataclass(frozen=True, slots=True)
class _ByPosition:
    """Finds the columns of the `size` numbers of the input `name`."""

    header: Header
    name: str
    spec: TensorSpec
    size: int
    file: str

    def in_order(self) -> tuple[int, ...]:
        seen = self.header.seen
        if len(seen) > self.size:
            raise self._misfit(**self._too_many(len(seen) - self.size))
        if len(seen) < self.size:
            raise self._misfit(missing=f"{_are(self.size - len(seen))} missing")
        return seen

    def _too_many(self, count: int) -> dict[str, Any]:
        """Name unnamed and key-like columns as superfluous if there are enough of them.

        Otherwise suggest none: excluding the wrong column would give wrong predictions silently.
        """
        seen, unnamed = self.header.seen, self.header.unnamed
        nameless = [index for index in seen if index in unnamed]
        keys = [
            index
            for index in seen
            if index not in unnamed and _LIKE_A_KEY.search(self.header.names[index])
        ]
        if len(nameless) + len(keys) >= count:
            return {"too_many": sorted([*nameless, *keys][:count])}
        return {"missing": f"{count} of these are too many: {self.header.quoted(seen)}"}

    def by_number(self) -> tuple[int, ...]:
        """The columns sorted by the numbers that their names end in."""
        seen = self.header.seen
        prefix, series = _longest_series(self.header)
        first = 0 if 0 in series or not series else 1
        example = prefix if series else self.name
        last = first + self.size - 1
        found = [number for number in sorted(series) if first <= number <= last]
        if len(found) == self.size == len(seen):
            return tuple(series[number] for number in found)
        belonging = {series[number] for number in found}
        missing = ""
        if len(found) < self.size:
            # Look at a few missing names only: an input may have millions of numbers.
            expected = (number for number in range(first, last + 1) if number not in series)
            names = [f"{example}{number}" for number in islice(expected, _SHOWN_MISSING)]
            more = ", ..." if self.size - len(found) > len(names) else ""
            missing = f"{_are(self.size - len(found))} missing: {quoted_names(names)}{more}"
        raise self._misfit(
            too_many=[index for index in seen if index not in belonging],
            missing=missing,
            rule=f"; their names end in consecutive numbers, {quoted_names([f'{example}{first}'])}"
            f" to {quoted_names([f'{example}{last}'])}, or one column"
            f" {quoted_names([self.name])} holds JSON lists",
        )

    def _misfit(
        self, *, too_many: Iterable[int] = (), missing: str = "", rule: str = ""
    ) -> UnsupportedInput:
        too_many = list(too_many)
        faults = [missing] if missing else []
        fix = "included_fields and excluded_fields say which columns it sees"
        if too_many:
            faults.insert(0, f"{len(too_many)} too many: {self.header.quoted(too_many)}")
            fix = f"{self.header.exclusion(too_many)}, or included_fields names all that it sees"
        return UnsupportedInput(
            f"{self.file}: the input {quoted_names([self.name])} is {self.spec}, which takes"
            f" {self.size} columns, and the table has {len(self.header.seen)} for it,"
            f" {'; '.join(faults)}{rule}; {fix}"
        )


def _longest_series(header: Header) -> tuple[str, dict[int, int]]:
    """The most common prefix before a number, and the column indices by number."""
    series: dict[str, dict[int, int]] = {}
    for index in header.seen:
        # A generated name is not part of a series.
        if index in header.unnamed:
            continue
        if match := _NUMBERED.fullmatch(header.names[index]):
            series.setdefault(match["prefix"], {}).setdefault(int(match["number"]), index)
    return max(series.items(), key=lambda one: len(one[1]), default=("", {}))


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"
