"""The header of a table: what its columns are called, and which of them the model sees.

A column without a name is called as pandas calls it (pandas/_libs/parsers.pyx, `_get_header`):
`Unnamed: 0` with its place from 0, and `Unnamed: 0.1` where another column has that very name.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import UnsupportedInput
from app.job_spec import InstanceFields
from app.json_values import shown_names

# The key field is one text, in which an empty name would be no key at all.
_QUOTED_EMPTY_NAME = '""'
_SHOWN_COLUMNS = 20
# A list that nobody would copy is not written out.
_SUGGESTED_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of one file, by their places.

    `seen` are the places of those that the model sees: in order of the table, or of
    `included_fields`.
    """

    names: tuple[str, ...]
    unnamed: frozenset[int]
    seen: tuple[int, ...]
    key: int | None

    @property
    def seen_names(self) -> dict[str, int]:
        """The places of the columns that the model sees, by their names."""
        return {self.names[place]: place for place in self.seen}

    def shown(self, places: Iterable[int]) -> str:
        """Columns as an error message names them."""
        places = list(places)
        texts = [
            f"column {place + 1}, which has no name ({shown_names([self.names[place]])})"
            if place in self.unnamed
            else shown_names([self.names[place]])
            for place in places[:_SHOWN_COLUMNS]
        ]
        return ", ".join(texts) + (", ..." if len(places) > _SHOWN_COLUMNS else "")

    def exclusion(self, places: Iterable[int]) -> str:
        """How to keep columns from the model."""
        places = list(places)
        which = "a column" if len(places) == 1 else "columns"
        names = [self.names[place] for place in places]
        text = f"excluded_fields keeps {which} from the model"
        if sum(map(len, names)) > _SUGGESTED_CHARACTERS:
            return text
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(names)
        return f"{text}: excluded_fields={row.getvalue()}"


def read_header(cells: tuple[str, ...], fields: InstanceFields, file: str) -> Header:
    """Raises UnsupportedInput where two columns have one name, or a field is no column."""
    unnamed = frozenset(place for place, cell in enumerate(cells) if not cell)
    names = _called(cells)
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise UnsupportedInput(f"{file}: two columns have the same name: {shown_names(twice)}")
    whole = Header(names, unnamed, (), None)
    places: dict[str, tuple[int, ...]] = {name: (place,) for place, name in enumerate(names)}
    if unnamed:
        places.setdefault("", tuple(sorted(unnamed)))
    included = None if fields.included is None else _find(fields.included, places, whole, file)
    excluded = set(_find(fields.excluded, places, whole, file))
    key = None if fields.key is None else _find_key(fields.key, places, whole, file)
    order = range(len(names)) if included is None else included
    seen = tuple(place for place in order if place != key and place not in excluded)
    return Header(names, unnamed, seen, key)


def _called(cells: tuple[str, ...]) -> tuple[str, ...]:
    taken = set(cells)
    names = []
    for place, cell in enumerate(cells):
        name = cell or f"Unnamed: {place}"
        times = 0
        while not cell and name in taken:
            times += 1
            name = f"Unnamed: {place}.{times}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _find(
    asked: Iterable[str], places: dict[str, tuple[int, ...]], header: Header, file: str
) -> tuple[int, ...]:
    """The places of the columns, each of them once. Raises UnsupportedInput."""
    asked = list(asked)
    if missing := [name for name in asked if name not in places]:
        hint = ""
        if any(name.strip() in places for name in missing):
            hint = "; blanks are part of a name, also after a comma"
        raise UnsupportedInput(
            f"{file}: no column {shown_names(missing)}; the header has"
            f" {header.shown(range(len(header.names)))}{hint}"
        )
    return tuple(dict.fromkeys(place for name in asked for place in places[name]))


def _find_key(name: str, places: dict[str, tuple[int, ...]], header: Header, file: str) -> int:
    if name == _QUOTED_EMPTY_NAME and name not in places:
        name = ""
    found = _find([name], places, header, file)
    if len(found) > 1:
        raise UnsupportedInput(
            f"{file}: key_field names one column, and {len(found)} have no name:"
            f" {header.shown(found)}"
        )
    return found[0]
