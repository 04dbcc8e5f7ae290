"""Row errors: collected while a file is predicted, and written to its errors file."""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import orjson

from app.errors import RowError
from app.formats.context import InstanceReader


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A row error with its record, or with the beginning of a record that is too long."""

    error: RowError
    text: bytes


class RowErrors:
    """Collects the row errors of a file until their batch is answered.

    Several steps find them, and not in order: a line that is too long before there is a batch, a
    line that is no JSON after that, and a row on which the model fails last. Without `skip` the
    first one ends the job, and nothing after it matters.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        # A heap by number. Errors of one number keep the order in which they came.
        self._waiting: list[tuple[int, int, InvalidRecord]] = []
        self._count = 0

    def __call__(self, error: RowError, text: bytes) -> bool:
        """Adds a row error. Returns whether the rows after it still matter."""
        self._count += 1
        heappush(self._waiting, (error.number, self._count, InvalidRecord(error, text)))
        return self.skip

    def up_to(self, number: int | None) -> list[InvalidRecord]:
        """Removes and returns, in order, those up to record `number`, or all if that is None."""
        taken = []
        while self._waiting and (number is None or self._waiting[0][0] <= number):
            taken.append(heappop(self._waiting)[2])
        return taken


def encode_row_error(row: InvalidRecord, reader: InstanceReader[Any]) -> bytes:
    """A line of the errors file: `{"line": n, "key": ..., "instance": ..., "error": {...}}`.

    The first field is named after the reader's unit. `key` is there if a key field was given and
    found. The instance is as it was in the input, or a string if only its beginning is known.
    """
    error = row.error
    message = error.message if error.field is None else f"field {error.field}: {error.message}"
    line: dict[str, Any] = {reader.unit: error.number}
    if error.shows_all:
        if (key := reader.key(row.text)) is not None:
            line["key"] = orjson.Fragment(key)
        line["instance"] = orjson.Fragment(reader.as_json(row.text))
    else:
        # The beginning of a long number is another number, so it becomes a string.
        line["instance"] = row.text.decode(errors="replace")
    line["error"] = {"code": error.kind.code, "status": error.kind.status, "message": message}
    return orjson.dumps(line) + b"\n"
