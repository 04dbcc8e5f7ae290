"""Numbered lines become batches, bounded in rows and in bytes."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.lines import Lines


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch is full at `max_rows` rows, or once it holds `max_bytes` bytes of text."""

    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in order, with the number that each has as a line of its file."""

    texts: list[bytes]
    numbers: Sequence[int]


def make_batches(groups: Iterable[Lines], limits: BatchLimits) -> Iterator[Batch]:
    """Batches of the lines that are not blank. A single row may be larger than `max_bytes`."""
    texts: list[bytes] = []
    numbers: list[int] = []
    size = 0
    for group in groups:
        new_texts, new_numbers = _without_blanks(group)
        # sizes[i] is the length of the rows before row i.
        sizes = list(accumulate(map(len, new_texts), initial=0))
        start = 0
        while start < len(new_texts):
            rows_end = start + limits.max_rows - len(texts)
            bytes_end = bisect_left(sizes, sizes[start] + limits.max_bytes - size, lo=start + 1)
            end = min(rows_end, bytes_end, len(new_texts))
            texts += new_texts[start:end]
            numbers += new_numbers[start:end]
            size += sizes[end] - sizes[start]
            if len(texts) >= limits.max_rows or size >= limits.max_bytes:
                yield Batch(texts, numbers)
                texts, numbers, size = [], [], 0
            start = end
    if texts:
        yield Batch(texts, numbers)


def _without_blanks(group: Lines) -> tuple[list[bytes], Sequence[int]]:
    numbers = range(group.first, group.first + len(group.texts))
    if all(group.texts) and not any(map(bytes.isspace, group.texts)):
        return group.texts, numbers
    kept = [
        (text, number)
        for text, number in zip(group.texts, numbers, strict=True)
        if text and not text.isspace()
    ]
    return [text for text, _ in kept], [number for _, number in kept]
