"""Splits blocks of bytes into numbered lines.

A line ends at LF or CRLF; the last one needs no end. A UTF-8 byte order mark at the start of a
file is no part of its first line.

Lines stay one text with the offsets of their ends. Splitting the text into objects would cost more
than everything else before parsing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.errors import RowError, TooLarge
from app.framing.records import RowErrorSink

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE_BYTES = 1024 * 1024
_LINE_FEED = ord("\n")
# How much of an overlong line an error shows.
_SHOWN_BYTES = 256
# White space as bytes.isspace() defines it.
_WHITE_SPACE = b" \t\n\r\x0b\x0c"
# If lines are longer on average, there are few of them.
_FEW_BYTES = 16


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines in order: `text` with an LF after each, and `ends`, where those are.

    `first` is the number of the first line, from 1; the others follow it one by one, unless
    `numbers` are given. `dropped` are the numbers of lines that are known to be bad, which are
    blank now. A line `is_cut` elsewhere than at each LF where it may hold some itself.
    """

    first: int
    text: bytes
    ends: NDArray[np.intp]
    dropped: frozenset[int] = frozenset()
    is_cut: bool = False
    numbers: NDArray[np.int64] | None = None

    @property
    def last(self) -> int:
        if self.numbers is not None:
            return int(self.numbers[-1])
        return self.first + len(self.ends) - 1

    def part(self, start: int, end: int) -> "Lines":
        if start == 0 and end == len(self.ends):
            return self
        first_byte = int(self.ends[start - 1]) + 1 if start else 0
        numbers = None if self.numbers is None else self.numbers[start:end]
        return Lines(
            self.first + start if numbers is None or start == end else int(numbers[0]),
            self.text[first_byte : int(self.ends[end - 1]) + 1],
            self.ends[start:end] - first_byte,
            self.dropped,
            self.is_cut,
            numbers,
        )

    @classmethod
    def joined(cls, parts: list["Lines"]) -> "Lines":
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.text) for part in parts[:-1])])
        follow = all(after.first == before.last + 1 for before, after in pairwise(parts))
        has_numbers = not follow or any(part.numbers is not None for part in parts)
        return Lines(
            parts[0].first,
            b"".join([part.text for part in parts]),
            np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=True)]),
            frozenset().union(*(part.dropped for part in parts)),
            any(part.is_cut for part in parts),
            np.concatenate([part.all_numbers() for part in parts]) if has_numbers else None,
        )

    def all(self) -> list[bytes]:
        """Every line without its end, blank ones included."""
        if not self.is_cut and self.text:
            return self.text[:-1].split(b"\n")
        starts = [0, *(self.ends + 1).tolist()][:-1]
        return [self.text[s:e] for s, e in zip(starts, self.ends.tolist(), strict=True)]

    def all_numbers(self) -> NDArray[np.int64]:
        if self.numbers is not None:
            return self.numbers
        return np.arange(self.first, self.first + len(self.ends))

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Every line with its number, blank ones included."""
        if self.numbers is None:
            return enumerate(self.all(), self.first)
        return zip(self.numbers.tolist(), self.all(), strict=True)

    def rows(self) -> list[tuple[int, bytes]]:
        """The non-blank lines with their numbers."""
        return [(number, line) for number, line in self.numbered() if line and not line.isspace()]

    def rows_with_blank_ones(self) -> list[tuple[int, bytes]]:
        """All lines except the dropped ones."""
        return [(number, line) for number, line in self.numbered() if number not in self.dropped]


def without_blank_lines(groups: Iterable[Lines], blank: bytes = _WHITE_SPACE) -> Iterator[Lines]:
    """Drop lines that consist of `blank` bytes only, so that runs of them fill no batches.

    Long lines are too few to be worth checking.
    """
    is_text = np.ones(256, np.uint8)
    is_text[list(blank)] = 0
    for lines in groups:
        if len(lines.text) > len(lines.ends) * _FEW_BYTES:
            yield lines
            continue
        starts = np.concatenate(([0], lines.ends[:-1] + 1))
        characters = np.frombuffer(lines.text, np.uint8)
        if is_text[characters[starts]].all():
            # No line begins with a blank byte. This check is cheaper than looking at every byte.
            yield lines
            continue
        is_row = np.bitwise_or.reduceat(is_text[characters], starts).astype(np.bool_)
        if is_row.all():
            yield lines
        elif is_row.any():
            sizes = np.diff(lines.ends, prepend=-1)
            numbers = lines.all_numbers()[is_row]
            yield Lines(
                int(numbers[0]),
                characters[np.repeat(is_row, sizes)].tobytes(),
                np.cumsum(sizes[is_row]) - 1,
                lines.dropped,
                lines.is_cut,
                numbers,
            )


def as_lines(first: int, text: bytes, dropped: frozenset[int] = frozenset()) -> Lines:
    """`text` must be empty or end in LF."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_FEED)
    return Lines(first, text, ends, dropped)


def read_lines(
    blocks: Iterable[bytes],
    *,
    max_line_bytes: int,
    on_row_error: RowErrorSink,
    keep_carriage_returns: bool = False,
) -> Iterator[Lines]:
    """Yield the lines of a file in groups of about a mebibyte, blank ones included.

    Memory: one block, one group and one unfinished line. `on_row_error` receives each overlong line
    before its group, in which a blank line replaces it. If it returns False, that line is the last.
    """
    number = 1
    unfinished: list[bytes] = []
    unfinished_bytes = 0
    start = _BYTE_ORDER_MARK
    longest_unfinished = max_line_bytes + len(_BYTE_ORDER_MARK) + len(b"\r")
    dropping = False
    dropped: frozenset[int] = frozenset()
    for whole_piece in _pieces(blocks):
        piece = whole_piece
        if dropping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece, dropping, dropped = piece[end:], False, frozenset({number})
        cut = piece.rfind(b"\n") + 1
        if cut:
            text = b"".join((*unfinished, piece[:cut])).removeprefix(start)
            start = b""
            if b"\r" in text and not keep_carriage_returns:
                text = text.replace(b"\r\n", b"\n")
            lines, dropped = as_lines(number, text, dropped), frozenset()
            kept = _without_long_lines(lines, max_line_bytes, on_row_error)
            yield kept
            if len(kept.ends) < len(lines.ends):
                return
            number += len(lines.ends)
            unfinished, unfinished_bytes = [], 0
        unfinished.append(piece[cut:])
        unfinished_bytes += len(piece) - cut
        if unfinished_bytes > longest_unfinished:
            beginning = b"".join(unfinished)[:_SHOWN_BYTES]
            if not on_row_error(too_long(number, max_line_bytes), beginning):
                return
            unfinished, unfinished_bytes, start, dropping = [], 0, b"", True
    text = b"".join(unfinished).removeprefix(start).removesuffix(b"\r")
    if text:
        yield _without_long_lines(as_lines(number, text + b"\n"), max_line_bytes, on_row_error)


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]


def _without_long_lines(lines: Lines, max_line_bytes: int, on_row_error: RowErrorSink) -> Lines:
    """Replace each overlong line by a blank one; stop there if `on_row_error` returns False."""
    lengths = np.diff(lines.ends, prepend=-1) - 1
    if lengths.max() <= max_line_bytes:
        return lines
    kept, dropped = [], set(lines.dropped)
    for number, line in enumerate(lines.all(), lines.first):
        if len(line) > max_line_bytes:
            kept.append(b"\n")
            dropped.add(number)
            if not on_row_error(too_long(number, max_line_bytes), line[:_SHOWN_BYTES]):
                break
        else:
            kept.append(line + b"\n")
    return as_lines(lines.first, b"".join(kept), frozenset(dropped))


def too_long(number: int, max_line_bytes: int) -> RowError:
    return RowError(
        number,
        None,
        f"longer than {max_line_bytes} bytes; where the instance's memory allows it,"
        " MAX_LINE_BYTES takes longer lines",
        TooLarge,
        shows_all=False,
    )
