"""The header of a table: the names of its columns, and the columns that the model sees.

A column without a name is called as pandas calls it (pandas/_libs/parsers.pyx, `_get_header`):
`Unnamed: 0` with its index from 0, and `Unnamed: 0.1` where another column has that very name.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.codec.json_values import quoted_names
from app.config.job_spec import InstanceFields
from app.errors import UnsupportedInput

# An empty key_field means no key, so "" stands for the unnamed column.
_QUOTED_EMPTY_NAME = '""'
_SHOWN_COLUMNS = 20
# A longer list of names is not suggested.
_SUGGESTED_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of one file, by their indices.

    `seen` are the indices of those that the model sees: in order of the table, or of
    `included_fields`. Columns of a table without a header (`is_given` False) are called `1`, `2`
    and so on.
    """

    names: tuple[str, ...]
    unnamed: frozenset[int]
    seen: tuple[int, ...]
    key: int | None
    is_given: bool = True

    @property
    def seen_names(self) -> dict[str, int]:
        """The indices of the columns that the model sees, by their names."""
        return {self.names[index]: index for index in self.seen}

    def quoted(self, indices: Iterable[int]) -> str:
        """Columns as an error message names them."""
        indices = list(indices)
        texts = [
            f"column {index + 1}, which has no name ({quoted_names([self.names[index]])})"
            if index in self.unnamed
            else quoted_names([self.names[index]])
            for index in indices[:_SHOWN_COLUMNS]
        ]
        return ", ".join(texts) + (", ..." if len(indices) > _SHOWN_COLUMNS else "")

    def exclusion(self, indices: Iterable[int]) -> str:
        """How to keep columns from the model."""
        indices = list(indices)
        which = "a column" if len(indices) == 1 else "columns"
        names = [self.names[index] for index in indices]
        text = f"excluded_fields keeps {which} from the model"
        if sum(map(len, names)) > _SUGGESTED_CHARACTERS:
            return text
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(names)
        return f"{text}: excluded_fields={row.getvalue()}"


def number_columns(count: int, fields: InstanceFields, file: str) -> Header:
    """Number the columns of a table without a header.

    Raises UnsupportedInput for unknown fields.
    """
    names = tuple(str(number) for number in range(1, count + 1))
    return _select(Header(names, frozenset(), (), None, is_given=False), fields, file)


def read_header(cells: tuple[str, ...], fields: InstanceFields, file: str) -> Header:
    """Parse a header. Raises UnsupportedInput for duplicate names and unknown fields."""
    unnamed = frozenset(index for index, cell in enumerate(cells) if not cell)
    names = _called(cells)
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UnsupportedInput(f"{file}: two columns have the same name: {quoted_names(twice)}")
    return _select(Header(names, unnamed, (), None), fields, file)


def _select(header: Header, fields: InstanceFields, file: str) -> Header:
    """Return the header with the visible columns and the key."""
    names, unnamed = header.names, header.unnamed
    indices: dict[str, tuple[int, ...]] = {name: (index,) for index, name in enumerate(names)}
    if unnamed:
        indices.setdefault("", tuple(sorted(unnamed)))
    included = None if fields.included is None else _find(fields.included, indices, header, file)
    excluded = set(_find(fields.excluded, indices, header, file))
    key = None if fields.key is None else _find_key(fields.key, indices, header, file)
    order = range(len(names)) if included is None else included
    seen = tuple(index for index in order if index != key and index not in excluded)
    return replace(header, seen=seen, key=key)


def _called(cells: tuple[str, ...]) -> tuple[str, ...]:
    taken = set(cells)
    names = []
    for index, cell in enumerate(cells):
        name = cell or f"Unnamed: {index}"
        times = 0
        while not cell and name in taken:
            times += 1
            name = f"Unnamed: {index}.{times}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _find(
    asked: Iterable[str], indices: dict[str, tuple[int, ...]], header: Header, file: str
) -> tuple[int, ...]:
    """Find columns by name, without duplicates. Raises UnsupportedInput."""
    asked = list(asked)
    if missing := [name for name in asked if name not in indices]:
        hint = ""
        if any(name.strip() in indices for name in missing):
            hint = "; blanks are part of a name, also after a comma"
        raise UnsupportedInput(
            f"{file}: no column {quoted_names(missing)}; the header has"
            f" {header.quoted(range(len(header.names)))}{hint}"
        )
    return tuple(dict.fromkeys(index for name in asked for index in indices[name]))


def _find_key(name: str, indices: dict[str, tuple[int, ...]], header: Header, file: str) -> int:
    if name == _QUOTED_EMPTY_NAME and name not in indices:
        name = ""
    found = _find([name], indices, header, file)
    if len(found) > 1:
        raise UnsupportedInput(
            f"{file}: key_field names one column, and {len(found)} have no name:"
            f" {header.quoted(found)}"
        )
    return found[0]
