"""Parses lists of field names: one row of RFC 4180, so names may contain commas and quotes."""

import csv
from collections.abc import Iterable

from app.errors import InvalidArgument


def field_names(texts: Iterable[str], parameter: str) -> list[str]:
    """Parse the names of all texts in order; `""` is the empty name. Raises InvalidArgument."""
    return [name for text in texts for name in _names_of(text, parameter)]


def _names_of(text: str, parameter: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidArgument(
            f"parameter {parameter} must be names separated by commas, a name with a comma in"
            f" double quotes, it is {text[:100]!r}: {error}",
            {"parameters": [parameter]},
        ) from None
    names = [name for row in rows for name in row]
    # An empty cell is not a name, unless it is quoted.
    return names if '""' in text else list(filter(None, names))
