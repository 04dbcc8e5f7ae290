"""Numbered lines become batches, bounded in rows and in bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from app.lines import Lines, as_lines


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch has at most `max_rows` lines, and `max_bytes` bytes unless a single line has more."""

    max_rows: int
    max_bytes: int


def make_batches(groups: Iterable[Lines], limits: BatchLimits) -> Iterator[Lines]:
    """All lines in order, blank ones included. A group that fits becomes a batch as it is."""
    waiting: list[Lines] = []
    room = limits
    for group in groups:
        for part in _parts(group, limits, room):
            if waiting and not _has_room(room, part):
                yield _joined(waiting)
                waiting, room = [], limits
            waiting.append(part)
            room = BatchLimits(room.max_rows - len(part.ends), room.max_bytes - len(part.text))
            if room.max_rows == 0:
                yield _joined(waiting)
                waiting, room = [], limits
    if waiting:
        yield _joined(waiting)


def _parts(group: Lines, limits: BatchLimits, room: BatchLimits) -> Iterator[Lines]:
    """The group cut so that the first part fills the room that is left, and none is over a limit.

    Cut only where it must be: a group within the limits stays whole unless its rows fill a batch.
    """
    start_row = start = 0
    end_of_text = len(group.text)
    while start_row < len(group.ends):
        within_bytes = int(np.searchsorted(group.ends, min(start + limits.max_bytes, end_of_text)))
        end_row = max(start_row + 1, min(start_row + room.max_rows, within_bytes))
        end = int(group.ends[end_row - 1]) + 1
        whole = end - start == len(group.text)
        yield group if whole else as_lines(group.first + start_row, group.text[start:end])
        start_row, start, room = end_row, end, limits


def _has_room(room: BatchLimits, part: Lines) -> bool:
    return len(part.ends) <= room.max_rows and len(part.text) <= room.max_bytes


def _joined(parts: list[Lines]) -> Lines:
    if len(parts) == 1:
        return parts[0]
    return as_lines(parts[0].first, b"".join(part.text for part in parts))
