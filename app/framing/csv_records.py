"""Splits blocks of bytes into the records of a table: RFC 4180, with LF or CRLF.

A record ends at each line's end outside of quotes. Where there are no quotes, records are lines,
and nothing is looked at twice. A stray quote makes its own line invalid, and no other.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import RowError
from app.framing.lines import Lines, read_lines, without_blank_lines
from app.framing.records import RowErrorSink

_BLANK_LINES = re.compile(rb"(?:\r?\n)*+")
_STRAY = "a quote in the wrong place: quoted cells begin and end with one, and hold two for each"
_UNCLOSED = (
    "a cell begins with a quote here, and none ends it before the longest line that is taken"
)
_NO_ENDS = np.empty(0, np.intp)
# The most row errors kept in memory at once.
_MAX_ERRORS = 1024
# How much of a line an error shows.
_SHOWN_BYTES = 4096
_GROUP_BYTES = 1024 * 1024
_LINE_FEED, _QUOTE = b'\n"'

_Fault = tuple[RowError, bytes]


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Patterns for one record, for a run of records, and for a record with an open quoted cell."""

    record: re.Pattern[bytes]
    records: re.Pattern[bytes]
    unfinished: re.Pattern[bytes]

    @classmethod
    def of(cls, delimiter: bytes) -> "_Patterns":
        comma = re.escape(delimiter)
        field = rb'(?:"(?:[^"]++|"")*+"|[^"' + comma + rb"\n]*+)"
        record = field + rb"(?:" + comma + field + rb")*+\r?\n"
        return cls(
            re.compile(record),
            re.compile(rb"(?:" + record + rb")*+"),
            re.compile(rb"(?:" + field + comma + rb')*+"(?:[^"]++|"")*+\Z'),
        )


def read_records(
    blocks: Iterable[bytes],
    *,
    max_record_bytes: int,
    on_row_error: RowErrorSink,
    delimiter: bytes = b",",
    first: int = 0,
) -> Iterator[Lines]:
    """Yield the records in groups of about a mebibyte, blank ones included.

    `first` numbers the first record: 0 for a header, else 1. `on_row_error` receives each record
    that cannot be split; its number is in `dropped`. If it returns False, that group is the last.
    """
    # Overlong lines by line number, and then by offset in the unfinished text.
    long_lines: dict[int, _Fault] = {}
    long_offsets: dict[int, _Fault] = {}

    def note(error: RowError, text: bytes) -> bool:
        long_lines[error.number] = error, text
        return True

    lines = read_lines(
        blocks, max_line_bytes=max_record_bytes, on_row_error=note, keep_carriage_returns=True
    )
    patterns = _Patterns.of(delimiter)
    number, unfinished = first, b""
    # Text read after `unfinished`, and its size in bytes.
    waiting: list[bytes] = []
    waiting_bytes = 0
    for group in _with_end(lines):
        is_last = not group.ends.size
        for line in sorted(long_lines.keys() & (long_lines if is_last else group.dropped)):
            # An overlong last line is in no group.
            offset = 0 if is_last else int(group.ends[line - group.first])
            long_offsets[len(unfinished) + waiting_bytes + offset] = long_lines.pop(line)
        waiting.append(group.text)
        waiting_bytes += len(group.text)
        if waiting_bytes < len(unfinished) and not is_last:
            # Rescan a record that spans groups only when its text has doubled.
            continue
        text = b"".join([unfinished, *waiting])
        # Blank lines before the header are not numbered.
        blank = _blank_lines(text, long_offsets) if number == 0 else 0
        text = text[blank:]
        long_offsets = {offset - blank: error for offset, error in long_offsets.items()}
        has_quotes = bool(unfinished) or b'"' in text or blank > 0
        waiting, waiting_bytes = [], 0
        window = max_record_bytes + len(b"\r\n")
        start = 0
        while True:
            cut = _Cut(group.ends, len(text), {})
            if has_quotes:
                cut = _cut(patterns, text, start, window, is_last=is_last)
            errors = {
                index: _cut_error(number + index, text, offset, why)
                for index, (offset, why) in cut.bad.items()
            }
            is_all = is_last and start + cut.size == len(text)
            errors |= _long_errors(long_offsets, cut, start, number, is_all=is_all)
            dropped = frozenset(number + index for index in errors)
            records = Lines(number, text[start : start + cut.size], cut.ends, dropped, has_quotes)
            for index, (error, beginning) in sorted(errors.items()):
                if not on_row_error(error, beginning):
                    yield records.part(0, index)
                    return
            yield from _without_blank_rows(records)
            number, start = number + len(cut.ends), start + cut.size
            if not cut.size or start == len(text):
                break
        long_offsets = {offset - start: error for offset, error in long_offsets.items()}
        unfinished = text[start:]


def _without_blank_rows(records: Lines) -> Iterator[Lines]:
    """Yield the header alone, then all other records without the empty ones."""
    if records.first == 0:
        head = min(1, len(records.ends))
        yield records.part(0, head)
        records = records.part(head, len(records.ends))
    if len(records.ends):
        yield from without_blank_lines([records], blank=b"\r\n")


def _long_errors(
    long_offsets: dict[int, _Fault], cut: "_Cut", start: int, number: int, *, is_all: bool
) -> dict[int, _Fault]:
    """Pop the overlong lines within the cut; return them by record index."""
    errors = {}
    for offset in [offset for offset in long_offsets if is_all or offset < start + cut.size]:
        index = int(np.searchsorted(cut.ends, offset - start))
        error, beginning = long_offsets.pop(offset)
        errors[index] = dataclasses.replace(error, number=number + index), beginning
    return errors


def _blank_lines(text: bytes, long_offsets: Iterable[int]) -> int:
    """The size of the leading blank lines, up to the first overlong line."""
    match = _BLANK_LINES.match(text)
    assert match is not None
    return min([match.end(), *long_offsets])


def _cut_error(number: int, text: bytes, start: int, why: str) -> _Fault:
    line = text[start : start + _SHOWN_BYTES].partition(b"\n")
    return RowError(number, None, why, shows_all=bool(line[1])), line[0].removesuffix(b"\r")


@dataclass(frozen=True, slots=True)
class _Cut:
    """The ends of records, their total size in bytes, and the invalid ones.

    `bad` maps a record's index to its offset and the reason.
    """

    ends: NDArray[np.intp]
    size: int
    bad: dict[int, tuple[int, str]]


def _with_end(groups: Iterable[Lines]) -> Iterator[Lines]:
    """Append an empty group, which marks the end of the text."""
    yield from groups
    yield Lines(0, b"", np.empty(0, np.intp))


def _cut(patterns: _Patterns, text: bytes, start: int, window: int, *, is_last: bool) -> _Cut:
    """Split about a mebibyte from `start` at line ends outside quotes, or less after many errors.

    A record has at most `window` bytes. More text follows unless `is_last`.
    """
    ends: list[NDArray[np.intp]] = []
    bad: dict[int, tuple[int, str]] = {}
    count = 0
    offset, goal = start, min(len(text), start + _GROUP_BYTES)
    while offset < goal and len(bad) < _MAX_ERRORS:
        whole = _whole_records(patterns, text, offset, goal, window)
        if not len(whole):
            # Text beyond the window may not have arrived yet.
            limit = min(offset + window, len(text))
            if record := patterns.record.match(text, offset, limit):
                end = record.end()
            else:
                is_open = patterns.unfinished.match(text, offset, limit) is not None
                if is_open and not is_last and limit < offset + window:
                    break
                end = text.index(b"\n", offset) + 1
                bad[count] = offset, _UNCLOSED if is_open else _STRAY
            whole = np.array([end], np.intp)
        ends.append(whole - 1 - start)
        count += len(whole)
        offset = int(whole[-1])
    return _Cut(np.concatenate(ends) if ends else np.empty(0, np.intp), offset - start, bad)


def _whole_records(
    patterns: _Patterns, text: bytes, start: int, end: int, longest: int
) -> NDArray[np.intp]:
    """The ends of consecutive well-formed records between `start` and `end`.

    Stops at the first record of more than `longest` bytes.
    """
    match = patterns.records.match(text, start, end)
    assert match is not None
    if match.end() == start:
        return _NO_ENDS
    characters = np.frombuffer(text, np.uint8, match.end() - start, start)
    line_ends = np.flatnonzero(characters == _LINE_FEED)
    quotes = characters == _QUOTE
    if quotes.any():
        # In well-formed records, a line end is quoted after an odd number of quotes.
        line_ends = line_ends[np.cumsum(quotes)[line_ends] % 2 == 0]
    offsets: NDArray[np.intp] = line_ends + start + 1
    too_long = np.diff(offsets, prepend=start) > longest
    return offsets[: too_long.argmax()] if too_long.any() else offsets
