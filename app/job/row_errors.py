"""Rows that cannot be predicted: where they go, and how they are told."""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import orjson

from app.errors import RowError
from app.formats.context import InstanceReader


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A bad row and its record, or the beginning of one that is too long."""

    error: RowError
    text: bytes


class RowErrors:
    """Keeps the bad rows of a file until the batch that they belonged to is answered.

    Rows are found bad by several steps, and not in order: one that is too long before it is in any
    batch, one that the model fails on after those that were no JSON. Where the first bad row ends
    the job, nothing after it matters (`skip` is false).
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        # A heap by number; those of one number stay in the order in which they came.
        self._waiting: list[tuple[int, int, InvalidRecord]] = []
        self._count = 0

    def __call__(self, error: RowError, text: bytes) -> bool:
        """Takes note of a bad row; false where the rows after it do not matter any more."""
        self._count += 1
        heappush(self._waiting, (error.number, self._count, InvalidRecord(error, text)))
        return self.skip

    def up_to(self, number: int | None) -> list[InvalidRecord]:
        """Those that are not after record `number`, in order; all that wait where that is None."""
        taken = []
        while self._waiting and (number is None or self._waiting[0][0] <= number):
            taken.append(heappop(self._waiting)[2])
        return taken


def encode_row_error(row: InvalidRecord, reader: InstanceReader[Any]) -> bytes:
    """A line of the errors file: `{"line": n, "key": ..., "instance": ..., "error": {...}}`.

    The number is called as the format calls its records. There is a key where one was asked for
    and found. The instance is as it was in the input, or a string where it is not whole.
    """
    error = row.error
    message = error.message if error.field is None else f"field {error.field}: {error.message}"
    line: dict[str, Any] = {reader.unit: error.number}
    if error.shows_all:
        if (key := reader.key(row.text)) is not None:
            line["key"] = orjson.Fragment(key)
        line["instance"] = orjson.Fragment(reader.as_json(row.text))
    else:
        # The beginning of a long number is a number as well, and another one.
        line["instance"] = row.text.decode(errors="replace")
    line["error"] = {"code": error.kind.code, "status": error.kind.status, "message": message}
    return orjson.dumps(line) + b"\n"
