"""Estimates the memory of a JSON row's Python objects before it is parsed.

A row of ten million keys is 60 MB of text and 600 MB as a dict. So structural characters outside of
strings are counted first in long rows, in linear time and memory.
"""

from collections.abc import Iterator

import numpy as np

from app.errors import RowError, TooLarge
from app.framing.lines import Lines, as_lines
from app.framing.records import RowErrorSink

# Shorter rows are cheap.
_WORTH_A_LOOK_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_SHOWN_BYTES = 256
# Bytes in CPython 3.11, measured with sys.getsizeof on orjson's objects: a number and its list
# slot, a string, an entry of a growing dict, an empty list, an empty dict.
_VALUE, _STRING, _KEY, _LIST, _DICT = 36, 52, 100, 72, 72
# Bytes that simdjson takes for a number: its index in the text, and two words.
_PARSED_NUMBER = 20
# The objects may take this many times MAX_LINE_BYTES: 96 MiB by default.
_TIMES_THE_LINE = 6


def are_costly_numbers(batch: Lines, max_line_bytes: int) -> bool:
    """Whether simdjson would take too much memory for a row of the batch."""
    if not _has_long_row(batch):
        return False
    return _PARSED_NUMBER * batch.text.count(b",") > _TIMES_THE_LINE * max_line_bytes


def without_costly_rows(batch: Lines, max_line_bytes: int, on_row_error: RowErrorSink) -> Lines:
    """Replace rows that would take too much memory by blank lines.

    Stops after the first one if `on_row_error` returns False.
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
    """Estimate the bytes of a JSON text's objects. Overestimates for invalid JSON."""
    colons = commas = lists = dicts = quotes = tokens = 0
    for chunk, outside in _outside_strings(text):
        commas += _count(chunk, outside, ",")
        colons += _count(chunk, outside, ":")
        lists += _count(chunk, outside, "[")
        dicts += _count(chunk, outside, "{")
        # NaN and Infinity are parsed as strings first.
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
    """Yield pieces of the text with masks of the characters outside of strings."""
    # An escaped character is neither a quote nor the start of an escape.
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
