"""Rows that cannot be predicted: where they go, and how they are told."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import RowFault

_SUFFIX = ".errors.jsonl"


def errors_name(output_name: str) -> str:
    """What the file of an output's bad rows is called."""
    return output_name + _SUFFIX


@dataclass(frozen=True, slots=True)
class BadRowText:
    """A bad row and its line, or the beginning of a line that is too long."""

    fault: RowFault
    text: bytes


class FailOnBadRow:
    """Ends the job with the first bad row of `file`."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __call__(self, fault: RowFault, text: bytes) -> None:
        """Raises the error that the fault becomes."""
        del text
        raise fault.as_error(self._file)

    def up_to(self, line: int | None) -> list[BadRowText]:
        """None, ever."""
        del line
        return []


class SkipBadRows:
    """Keeps bad rows until the batch that they belonged to is on its way."""

    def __init__(self) -> None:
        self._waiting: deque[BadRowText] = deque()

    def __call__(self, fault: RowFault, text: bytes) -> None:
        self._waiting.append(BadRowText(fault, text))

    def up_to(self, line: int | None) -> list[BadRowText]:
        """Those whose line is not after `line`, in order; all that wait where that is None."""
        rows = sorted(self._waiting, key=lambda row: row.fault.line)
        taken = [row for row in rows if line is None or row.fault.line <= line]
        self._waiting = deque(rows[len(taken) :])
        return taken


def encode_bad_row(row: BadRowText) -> bytes:
    """A line of the errors file: `{"line": n, "instance": ..., "error": {...}}`.

    The instance is as it was in the input, or a string where it is not JSON.
    """
    fault = row.fault
    message = fault.message if fault.field is None else f"field {fault.field}: {fault.message}"
    error = {"code": fault.kind.code, "status": fault.kind.status, "message": message}
    line = {"line": fault.line, "instance": _instance(row.text), "error": error}
    return orjson.dumps(line) + b"\n"


def _instance(text: bytes) -> Any:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode(errors="replace")
    return orjson.Fragment(text)
