"""Blocks of bytes become numbered lines.

A line ends at LF or CRLF; the last one needs no end. A UTF-8 byte order mark at the start of a
file is no part of its first line.

Lines stay together as one text with the places of their ends, because most of them are never
needed as objects of their own: cutting a text apart costs more than all else that is done to it
before it is parsed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import RowFault, TooLarge, UnsupportedInput

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# RFC 1952, section 2.3.1
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1024 * 1024
_LINE_FEED = ord("\n")
# What is kept of a line that is too long, to show it.
_SHOWN_BYTES = 256

# Told of each line that is at fault, with its text or the beginning of it; says whether the lines
# after it matter.
OnFault = Callable[[RowFault, bytes], bool]


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines: `text` with an LF after each, and `ends`, where those are.

    `first` is the number of the first line, from 1.
    """

    first: int
    text: bytes
    ends: NDArray[np.intp]

    def rows(self) -> list[tuple[int, bytes]]:
        """The lines that are not blank, each with its number."""
        return [
            (number, line)
            for number, line in enumerate(self.text[:-1].split(b"\n"), self.first)
            if line and not line.isspace()
        ]


def as_lines(first: int, text: bytes) -> Lines:
    """`text` must be empty or end in LF."""
    return Lines(first, text, np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_FEED))


def read_lines(
    blocks: Iterable[bytes], *, max_line_bytes: int, file: str, on_fault: OnFault
) -> Iterator[Lines]:
    """The lines of `file` in groups of about a mebibyte; blank ones included.

    Holds one block, one group and one unfinished line. `on_fault` is told of each line that is too
    long before the group that it belongs to comes, where a blank line takes its place. Where
    nothing after it matters, it is the last one. Raises UnsupportedInput.
    """
    number = 1
    unfinished: list[bytes] = []
    unfinished_bytes = 0
    start = _BYTE_ORDER_MARK
    longest_unfinished = max_line_bytes + len(_BYTE_ORDER_MARK) + len(b"\r")
    dropping = False
    for whole_piece in _pieces(blocks):
        piece = whole_piece
        if dropping:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece, dropping = piece[end:], False
        if start and not unfinished and piece.startswith(_GZIP_MAGIC):
            raise UnsupportedInput(f"{file}: gzipped, which is not read yet; store it plain")
        cut = piece.rfind(b"\n") + 1
        if cut:
            text = b"".join((*unfinished, piece[:cut])).removeprefix(start)
            start = b""
            lines = as_lines(number, text.replace(b"\r\n", b"\n") if b"\r" in text else text)
            kept = _without_long_lines(lines, max_line_bytes, on_fault)
            yield kept
            if len(kept.ends) < len(lines.ends):
                return
            number += len(lines.ends)
            unfinished, unfinished_bytes = [], 0
        unfinished.append(piece[cut:])
        unfinished_bytes += len(piece) - cut
        if unfinished_bytes > longest_unfinished:
            beginning = b"".join(unfinished)[:_SHOWN_BYTES]
            if not on_fault(_too_long(number, max_line_bytes), beginning):
                return
            unfinished, unfinished_bytes, start, dropping = [], 0, b"", True
    text = b"".join(unfinished).removeprefix(start).removesuffix(b"\r")
    if text:
        yield _without_long_lines(as_lines(number, text + b"\n"), max_line_bytes, on_fault)


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]


def _without_long_lines(lines: Lines, max_line_bytes: int, on_fault: OnFault) -> Lines:
    """The same with a blank line in the place of each that is too long.

    Fewer lines where those after such a line do not matter.
    """
    lengths = np.diff(lines.ends, prepend=-1) - 1
    if lengths.max() <= max_line_bytes:
        return lines
    kept = []
    for number, line in enumerate(lines.text[:-1].split(b"\n"), lines.first):
        if len(line) > max_line_bytes:
            kept.append(b"\n")
            if not on_fault(_too_long(number, max_line_bytes), line[:_SHOWN_BYTES]):
                break
        else:
            kept.append(line + b"\n")
    return as_lines(lines.first, b"".join(kept))


def _too_long(number: int, max_line_bytes: int) -> RowFault:
    return RowFault(
        number,
        None,
        f"longer than {max_line_bytes} bytes; where the instance's memory allows it,"
        " MAX_LINE_BYTES takes longer lines",
        TooLarge,
    )
