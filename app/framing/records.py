"""The interface of record groups: consecutive records of one file, not parsed yet."""

from dataclasses import dataclass
from itertools import chain
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app.errors import RowError


class RowErrorSink(Protocol):
    """Receives a row error and its record, or the beginning of it.

    Returns whether to go on reading.
    """

    def __call__(self, error: RowError, text: bytes) -> bool: ...


class Records(Protocol):
    """Some records of one file, in order.

    `first` and `last` are the numbers of the first and the last one, from 1; `ends` says for each
    how many bytes come before its last one, as if an LF ended each.
    """

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int: ...

    @property
    def ends(self) -> NDArray[np.intp]: ...

    def part(self, start: int, end: int) -> Self:
        """The records from index `start` to before index `end`."""

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Consecutive parts as one; there is at least one."""

    def rows(self) -> list[tuple[int, bytes]]:
        """The records that may be instances, each with its number."""


def size_of(records: Records) -> int:
    """Bytes of all records."""
    return int(records.ends[-1]) + 1 if len(records.ends) else 0


@dataclass(frozen=True, slots=True)
class ByteRecords:
    """Records of arbitrary bytes; None marks an invalid one."""

    first: int
    contents: tuple[bytes | None, ...]
    ends: NDArray[np.intp]

    @property
    def last(self) -> int:
        return self.first + len(self.ends) - 1

    def part(self, start: int, end: int) -> "ByteRecords":
        if start == 0 and end == len(self.ends):
            return self
        before = int(self.ends[start - 1]) + 1 if start else 0
        return ByteRecords(
            self.first + start, self.contents[start:end], self.ends[start:end] - before
        )

    @classmethod
    def joined(cls, parts: list["ByteRecords"]) -> "ByteRecords":
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *map(size_of, parts[:-1])])
        return ByteRecords(
            parts[0].first,
            tuple(chain.from_iterable(part.contents for part in parts)),
            np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=True)]),
        )

    def rows(self) -> list[tuple[int, bytes]]:
        return [
            (number, content)
            for number, content in enumerate(self.contents, self.first)
            if content is not None
        ]


def as_records(first: int, contents: tuple[bytes | None, ...]) -> ByteRecords:
    """Make ByteRecords of `contents`, where None marks an invalid record."""
    lengths = np.array([0 if content is None else len(content) for content in contents], np.intp)
    return ByteRecords(first, contents, np.cumsum(lengths + 1) - 1)
