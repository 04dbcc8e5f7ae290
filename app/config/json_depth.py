"""How deep JSON from outside may be: libraries read more levels than they write."""

from collections.abc import Iterable
from typing import Any

from app.errors import InvalidArgument

_MOST_LEVELS = 100


def check_depth(value: Any, what: str) -> None:
    """Raise InvalidArgument for lists and objects that are nested deeper than 100 levels."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise InvalidArgument(f"{what} is nested deeper than {_MOST_LEVELS} levels")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
