"""Groups records into batches, bounded in rows and in bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from app.framing.records import Records, size_of

R = TypeVar("R", bound=Records)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch has at most `max_rows`, and `max_bytes` bytes unless a single row has more."""

    max_rows: int
    max_bytes: int


def make_batches(groups: Iterable[R], limits: BatchLimits) -> Iterator[R]:
    """All records in order, blank lines included. A group within the limits becomes one batch."""
    waiting: list[R] = []
    room = limits
    for group in groups:
        for part in _parts(group, limits, room):
            if waiting and not _has_room(room, part):
                yield waiting[0].joined(waiting)
                waiting, room = [], limits
            waiting.append(part)
            room = BatchLimits(room.max_rows - len(part.ends), room.max_bytes - size_of(part))
            if room.max_rows == 0:
                yield waiting[0].joined(waiting)
                waiting, room = [], limits
    if waiting:
        yield waiting[0].joined(waiting)


def _parts(group: R, limits: BatchLimits, room: BatchLimits) -> Iterator[R]:
    """Split a group so that the first part fills the current batch, and no part exceeds a limit.

    A group within the limits stays whole unless its rows fill a batch.
    """
    start_row = start = 0
    size = size_of(group)
    while start_row < len(group.ends):
        within_bytes = int(np.searchsorted(group.ends, min(start + limits.max_bytes, size)))
        end_row = max(start_row + 1, min(start_row + room.max_rows, within_bytes))
        yield group.part(start_row, end_row)
        start_row, start, room = end_row, int(group.ends[end_row - 1]) + 1, limits


def _has_room(room: BatchLimits, part: R) -> bool:
    return len(part.ends) <= room.max_rows and size_of(part) <= room.max_bytes
