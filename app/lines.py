"""Blocks of bytes become numbered lines.

A line ends at LF or CRLF; the last one needs no end. A UTF-8 byte order mark at the start of a
file is no part of its first line.

Lines stay together as one text with the places of their ends, because most of them are never
needed as objects of their own: cutting a text apart costs more than all else that is done to it
before it is parsed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import TooLarge, UnsupportedInput

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# RFC 1952, section 2.3.1
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1024 * 1024
_LINE_FEED = ord("\n")


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


def read_lines(blocks: Iterable[bytes], *, max_line_bytes: int, file: str) -> Iterator[Lines]:
    """The lines of `file` in groups of about a mebibyte; blank ones included.

    Holds one block, one group and one unfinished line. Raises TooLarge, naming file and line, and
    UnsupportedInput.
    """
    number = 1
    unfinished: list[bytes] = []
    unfinished_bytes = 0
    start = _BYTE_ORDER_MARK
    for piece in _pieces(blocks):
        if start and not unfinished and piece.startswith(_GZIP_MAGIC):
            raise UnsupportedInput(f"{file}: gzipped, which is not read yet; store it plain")
        cut = piece.rfind(b"\n") + 1
        if cut:
            text = b"".join((*unfinished, piece[:cut])).removeprefix(start)
            start = b""
            lines = as_lines(number, text.replace(b"\r\n", b"\n") if b"\r" in text else text)
            _check_lengths(lines, max_line_bytes, file)
            yield lines
            number += len(lines.ends)
            unfinished, unfinished_bytes = [], 0
        unfinished.append(piece[cut:])
        unfinished_bytes += len(piece) - cut
        if unfinished_bytes > max_line_bytes + len(_BYTE_ORDER_MARK) + len(b"\r"):
            raise _too_long(file, number, max_line_bytes)
    text = b"".join(unfinished).removeprefix(start).removesuffix(b"\r")
    if text:
        lines = as_lines(number, text + b"\n")
        _check_lengths(lines, max_line_bytes, file)
        yield lines


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]


def _check_lengths(lines: Lines, max_line_bytes: int, file: str) -> None:
    lengths = np.diff(lines.ends, prepend=-1) - 1
    if lengths.max() > max_line_bytes:
        raise _too_long(
            file, lines.first + int(np.argmax(lengths > max_line_bytes)), max_line_bytes
        )


def _too_long(file: str, number: int, max_line_bytes: int) -> TooLarge:
    return TooLarge(
        f"{file}, line {number}: longer than {max_line_bytes} bytes; where the instance's memory"
        " allows it, MAX_LINE_BYTES takes longer lines",
        {"file": file, "line": number, "max_line_bytes": max_line_bytes},
    )
