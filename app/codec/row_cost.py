"""Estimates the memory that the Python objects of a JSON row take, before they are made.

A row of ten million keys is 60 MB of text and ten times as much as a dict. So long rows are looked
at first: a count of the marks outside of strings, in time and memory in proportion to the text.
"""

from collections.abc import Iterator

import numpy as np

from app.errors import RowError, TooLarge
from app.framing.lines import Lines, as_lines
from app.framing.records import RowErrorSink

# Shorter rows cannot take much.
_WORTH_A_LOOK_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_SHOWN_BYTES = 256
# Bytes that CPython 3.11 takes for each, measured with sys.getsizeof on what orjson makes: a number
# and its place in a list, a string, an entry of a dict as it grows, an empty list, an empty dict.
_VALUE, _STRING, _KEY, _LIST, _DICT = 36, 52, 100, 72, 72
# And what simdjson takes for a number while it parses: its place in the text, and two words.
_PARSED_NUMBER = 20
# The objects may take so many times the longest line: 96 MiB with MAX_LINE_BYTES as it is.
_TIMES_THE_LINE = 6


def are_costly_numbers(batch: Lines, max_line_bytes: int) -> bool:
    """Whether a batch has a row so long that simdjson would take too much memory for it."""
    if not _has_long_row(batch):
        return False
    return _PARSED_NUMBER * batch.text.count(b",") > _TIMES_THE_LINE * max_line_bytes


def without_costly_rows(batch: Lines, max_line_bytes: int, on_row_error: RowErrorSink) -> Lines:
    """The same batch with a blank line for each row that would take too much memory.

    Up to the first such row, where nothing after it matters.
    """
    if not _has_long_row(batch):
        return batch
    kept: list[bytes] = []
    most = _TIMES_THE_LINE * max_line_bytes
    for number, text in batch.numbered():
        if len(text) > _WORTH_A_LOOK_BYTES and (cost := row_cost(text)) > most:
            kept.append(b"")
            error = RowError(
                number,
                None,
                f"its keys, lists and values would take about {cost // 2**20} MiB of memory, and"
                f" {most // 2**20} are allowed: six times MAX_LINE_BYTES",
                TooLarge,
                shows_all=False,
            )
            if not on_row_error(error, text[:_SHOWN_BYTES]):
                break
        else:
            kept.append(text)
    lines = as_lines(batch.first, b"".join([text + b"\n" for text in kept]))
    numbers = batch.all_numbers()[: len(kept)]
    return Lines(lines.first, lines.text, lines.ends, batch.dropped, numbers=numbers)


def _has_long_row(batch: Lines) -> bool:
    if len(batch.text) <= _WORTH_A_LOOK_BYTES:
        return False
    return bool(np.diff(batch.ends, prepend=-1).max(initial=0) > _WORTH_A_LOOK_BYTES)


def row_cost(text: bytes) -> int:
    """Bytes of the objects that a JSON text becomes, about; more where it is no JSON."""
    colons = commas = lists = dicts = quotes = tokens = 0
    for chunk, outside in _outside_strings(text):
        commas += _count(chunk, outside, ",")
        colons += _count(chunk, outside, ":")
        lists += _count(chunk, outside, "[")
        dicts += _count(chunk, outside, "{")
        # NaN and Infinity are read as strings first.
        tokens += _count(chunk, outside, "N") // 2 + _count(chunk, outside, "I")
        quotes += int(np.count_nonzero(chunk == ord('"')))
    return (
        _VALUE * commas
        + _KEY * colons
        + _LIST * lists
        + _DICT * dicts
        + _STRING * (quotes // 2 + tokens)
    )


def _outside_strings(
    text: bytes,
) -> Iterator[tuple["np.typing.NDArray[np.uint8]", "np.typing.NDArray[np.bool_]"]]:
    """Pieces of the text, and which of their characters are in no string."""
    # What a backslash escapes is neither a quote nor another backslash.
    plain = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    quotes_before = 0
    for start in range(0, len(plain), _CHUNK_BYTES):
        chunk = np.frombuffer(plain, np.uint8)[start : start + _CHUNK_BYTES]
        quotes = np.cumsum(chunk == ord('"')) + quotes_before
        quotes_before = int(quotes[-1])
        yield chunk, quotes % 2 == 0


def _count(
    chunk: "np.typing.NDArray[np.uint8]", outside: "np.typing.NDArray[np.bool_]", mark: str
) -> int:
    return int(np.count_nonzero((chunk == ord(mark)) & outside))
