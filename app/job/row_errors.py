"""Collects row errors while a file is predicted, and encodes them for its errors file."""

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import orjson

from app.errors import RowError
from app.formats.context import InstanceReader


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A row error with its record, or with the beginning of an overlong one."""

    error: RowError
    text: bytes


class RowErrors:
    """Collects the row errors of a file until their batch is answered.

    Several steps report them out of order: framing reports overlong lines, the codec reports
    invalid ones, and the model's failures come last. Without `skip`, the first one ends the job.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        # A heap by record number. Errors of one record stay in the order of arrival.
        self._waiting: list[tuple[int, int, InvalidRecord]] = []
        self._count = 0

    def __call__(self, error: RowError, text: bytes) -> bool:
        """Add a row error; return whether to go on reading."""
        self._count += 1
        heappush(self._waiting, (error.number, self._count, InvalidRecord(error, text)))
        return self.skip

    def up_to(self, number: int | None) -> list[InvalidRecord]:
        """Pop the errors up to record `number` in order, or all if that is None."""
        taken = []
        while self._waiting and (number is None or self._waiting[0][0] <= number):
            taken.append(heappop(self._waiting)[2])
        return taken


def encode_row_error(row: InvalidRecord, reader: InstanceReader[Any]) -> bytes:
    """Encode a line of the errors file: `{"line": n, "key": ..., "instance": ..., "error": {...}}`.

    The reader's unit names the first field. `key` is there if the row has one. The instance is
    unchanged, or a string if only its beginning is known.
    """
    error = row.error
    message = error.message if error.field is None else f"field {error.field}: {error.message}"
    line: dict[str, Any] = {reader.unit: error.number}
    if error.shows_all:
        if (key := reader.key(row.text)) is not None:
            line["key"] = orjson.Fragment(key)
        line["instance"] = orjson.Fragment(reader.as_json(row.text))
    else:
        # The beginning of a long number would be another number, so make it a string.
        line["instance"] = row.text.decode(errors="replace")
    line["error"] = {"code": error.kind.code, "status": error.kind.status, "message": message}
    return orjson.dumps(line) + b"\n"
