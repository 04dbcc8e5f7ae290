"""Rows that cannot be predicted: where they go, and how they are told."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import RowFault, TooLarge

_SUFFIX = ".errors.jsonl"


def errors_name(output_name: str) -> str:
    """What the file of an output's bad rows is called."""
    return output_name + _SUFFIX


@dataclass(frozen=True, slots=True)
class BadRowText:
    """A bad row and its line, or the beginning of a line that is too long."""

    fault: RowFault
    text: bytes


class BadRows:
    """Keeps the bad rows of a file until the batch that they belonged to is answered.

    Rows are found bad by several steps, and not in order: one that is too long before it is in any
    batch, one that the model fails on after those that were no JSON. Where the first bad row ends
    the job, nothing after it matters (`skip` is false).
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self._waiting: deque[BadRowText] = deque()

    def __call__(self, fault: RowFault, text: bytes) -> bool:
        """Takes note of a bad row; false where the rows after it do not matter any more."""
        self._waiting.append(BadRowText(fault, text))
        return self.skip

    def up_to(self, line: int | None) -> list[BadRowText]:
        """Those whose line is not after `line`, in order; all that wait where that is None."""
        rows = sorted(self._waiting, key=lambda row: row.fault.line)
        taken = [row for row in rows if line is None or row.fault.line <= line]
        self._waiting = deque(rows[len(taken) :])
        return taken


def encode_bad_row(row: BadRowText) -> bytes:
    """A line of the errors file: `{"line": n, "instance": ..., "error": {...}}`.

    The instance is as it was in the input, or a string where it is not JSON or not whole.
    """
    fault = row.fault
    message = fault.message if fault.field is None else f"field {fault.field}: {fault.message}"
    error = {"code": fault.kind.code, "status": fault.kind.status, "message": message}
    line = {"line": fault.line, "instance": _instance(row), "error": error}
    return orjson.dumps(line) + b"\n"


def _instance(row: BadRowText) -> Any:
    try:
        orjson.loads(row.text)
    except orjson.JSONDecodeError:
        return row.text.decode(errors="replace")
    # The beginning of a long number is a number as well, and another one.
    return row.text.decode() if row.fault.kind is TooLarge else orjson.Fragment(row.text)
