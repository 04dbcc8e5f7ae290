"""Names with wildcards: `?` and `*` match anything but slashes, `**` matches anything.

`**/` is any folders, none included. Source: cloud.google.com/storage/docs/wildcards.

A name that begins with `_` or `.` is hidden, as for Spark, Hive and BigQuery: a wildcard never
stands for its beginning.
"""

import re

_TOKEN = re.compile(r"\*\*+/|\*+|[^*]", re.DOTALL)
_WILDCARD = re.compile(r"[*?]")


_HIDDEN = ("_", ".")


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder in its relative `name`, is hidden."""
    parts = name.split("/")
    return any(part.startswith(_HIDDEN) and part not in (".", "..") for part in parts)


def fixed_part(pattern: str) -> str:
    """The part before the first wildcard."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


class Wildcards:
    """One pattern, matched in time linear in the name.

    The possible states in the pattern are the bits of an integer. A backtracking matcher would take
    exponential time for patterns with many stars.
    """

    def __init__(self, pattern: str) -> None:
        self._literals: dict[str, int] = {}
        self._any_but_slash = 0
        self._stays_for_any = self._stays_but_at_slash = 0
        self._may_be_nothing = self._may_be_no_folder = 0
        self._begins_a_name = 0
        state = 1
        for match in _TOKEN.finditer(pattern):
            part = match[0]
            if pattern[: match.start()][-1:] in ("", "/"):
                self._begins_a_name |= state
            if part.startswith("**"):
                # "**/" matches folders only at the start of a path component.
                folders = part.endswith("/") and pattern[: match.start()][-1:] in ("", "/")
                self._stays_for_any |= state
                self._may_be_nothing |= state
                self._may_be_no_folder |= state if folders else 0
                if part.endswith("/"):
                    state <<= 1
                    self._literals["/"] = self._literals.get("/", 0) | state
            elif part == "*":
                self._stays_but_at_slash |= state
                self._may_be_nothing |= state
            elif part == "?":
                self._any_but_slash |= state
            else:
                self._literals[part] = self._literals.get(part, 0) | state
            state <<= 1
        self._end = state

    def match(self, name: str, *, hidden: bool = False) -> bool:
        """Whether the pattern matches the whole name; `hidden` includes hidden names."""
        return bool(self._states_after(name, hidden=hidden) & self._end)

    def may_match_below(self, folder: str, *, hidden: bool = False) -> bool:
        """Whether the pattern may match a name below `folder`, which ends in a slash."""
        return self._states_after(folder, hidden=hidden) != 0

    def _states_after(self, name: str, *, hidden: bool) -> int:
        states = self._arrived(1)
        before = "/"
        for character in name:
            stays, goes = self._stays_for_any, self._literals.get(character, 0)
            if before == "/" and character in _HIDDEN and not hidden:
                stays, goes = 0, goes & self._begins_a_name
            elif character != "/":
                stays |= self._stays_but_at_slash
                goes |= self._any_but_slash
            before = character
            stayed, gone = states & stays, (states & goes) << 1
            states = stayed | (stayed & self._may_be_nothing) << 1 | self._arrived(gone)
            if not states:
                break
        return states

    def _arrived(self, states: int) -> int:
        """Add the states after wildcards that may match nothing."""
        while True:
            more = states | (states & self._may_be_nothing) << 1
            more |= (states & self._may_be_no_folder) << 2
            if more == states:
                return states
            states = more
