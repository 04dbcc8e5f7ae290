"""Blocks of bytes become numbered lines.

A line ends at LF or CRLF; the last one needs no end. A UTF-8 byte order mark at the start of a
file is no part of its first line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.errors import TooLarge, UnsupportedInput

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# RFC 1952, section 2.3.1
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines without their ends; `first` is the number of the first, from 1."""

    first: int
    texts: list[bytes]


def read_lines(blocks: Iterable[bytes], *, max_line_bytes: int, file: str) -> Iterator[Lines]:
    """The lines of `file`, grouped as its blocks happen to come; blank ones included.

    Holds one block, the lines of a piece of it, and one unfinished line. Raises TooLarge, naming
    file and line, and UnsupportedInput.
    """
    number = 1
    unfinished: list[bytes] = []
    unfinished_bytes = 0
    at_start = True
    for piece in _pieces(blocks):
        if at_start and not unfinished and piece.startswith(_GZIP_MAGIC):
            raise UnsupportedInput(
                f"{file}: gzipped, which is not read yet; store plain JSON lines"
            )
        head, *rest = piece.split(b"\n")
        unfinished.append(head)
        unfinished_bytes += len(head)
        if rest:
            texts = [b"".join(unfinished), *rest]
            last = texts.pop()
            unfinished, unfinished_bytes = [last], len(last)
            if at_start:
                texts[0] = texts[0].removeprefix(_BYTE_ORDER_MARK)
                at_start = False
            yield _checked(Lines(number, _without_returns(texts)), max_line_bytes, file)
            number += len(texts)
        if unfinished_bytes > max_line_bytes + len(_BYTE_ORDER_MARK) + 1:
            raise _too_long(file, number, max_line_bytes)
    text = b"".join(unfinished)
    if at_start:
        text = text.removeprefix(_BYTE_ORDER_MARK)
    if text:
        yield _checked(Lines(number, _without_returns([text])), max_line_bytes, file)


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Short lines cost several times their bytes as objects, so few are cut at a time."""
    for block in blocks:
        for start in range(0, len(block), _PIECE_BYTES):
            yield block[start : start + _PIECE_BYTES]


def _without_returns(texts: list[bytes]) -> list[bytes]:
    return [text[:-1] if text.endswith(b"\r") else text for text in texts]


def _checked(lines: Lines, max_line_bytes: int, file: str) -> Lines:
    if max(map(len, lines.texts)) > max_line_bytes:
        index = next(i for i, text in enumerate(lines.texts) if len(text) > max_line_bytes)
        raise _too_long(file, lines.first + index, max_line_bytes)
    return lines


def _too_long(file: str, number: int, max_line_bytes: int) -> TooLarge:
    return TooLarge(
        f"{file}, line {number}: longer than {max_line_bytes} bytes; where the instance's memory"
        " allows it, MAX_LINE_BYTES takes longer lines",
        {"file": file, "line": number, "max_line_bytes": max_line_bytes},
    )
