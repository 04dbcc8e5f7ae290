"""Rows that cannot be predicted: where they go, and how they are told."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import RowFault, TooLarge
from app.formats.reader import InstanceReader

_SUFFIX = ".errors.jsonl"


def errors_name(output_name: str) -> str:
    """What the file of an output's bad rows is called."""
    return output_name + _SUFFIX


@dataclass(frozen=True, slots=True)
class BadRowText:
    """A bad row and its record, or the beginning of one that is too long."""

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

    def up_to(self, number: int | None) -> list[BadRowText]:
        """Those that are not after record `number`, in order; all that wait where that is None."""
        rows = sorted(self._waiting, key=lambda row: row.fault.number)
        taken = [row for row in rows if number is None or row.fault.number <= number]
        self._waiting = deque(rows[len(taken) :])
        return taken


def encode_bad_row(row: BadRowText, reader: InstanceReader[Any]) -> bytes:
    """A line of the errors file: `{"line": n, "key": ..., "instance": ..., "error": {...}}`.

    The number is called as the format calls its records. There is a key where one was asked for
    and found. The instance is as it was in the input, or a string where it is not whole.
    """
    fault = row.fault
    message = fault.message if fault.field is None else f"field {fault.field}: {fault.message}"
    line: dict[str, Any] = {reader.unit: fault.number}
    if (key := reader.key(row.text)) is not None:
        line["key"] = orjson.Fragment(key)
    # The beginning of a long number is a number as well, and another one.
    is_whole = fault.kind is not TooLarge
    line["instance"] = (
        orjson.Fragment(reader.shown(row.text)) if is_whole else row.text.decode(errors="replace")
    )
    line["error"] = {"code": fault.kind.code, "status": fault.kind.status, "message": message}
    return orjson.dumps(line) + b"\n"
