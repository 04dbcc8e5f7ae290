"""Lists of field names as text: one row of RFC 4180, so that a name may hold commas and quotes."""

import csv
from collections.abc import Iterable

from app.errors import InvalidArgument


def field_names(texts: Iterable[str], parameter: str) -> list[str]:
    """The names of all texts, in order; `""` is the empty name. Raises InvalidArgument."""
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
    # Nothing between two commas is no name; what is quoted is one.
    return names if '""' in text else list(filter(None, names))
