"""Regular rows of numbers, read as one buffer: the quickest way from text to a tensor.

The lines of a batch are made one JSON array, which simdjson parses and copies out as a flat buffer
of numbers. A flat buffer says nothing of where lists began and ended, so it is taken only with a
proof that each line is exactly one list of the same shape:

- each line starts with as many opening brackets as rows have dimensions, and ends with as many
  closing ones;
- the array has as many elements as there are lines, and all lists of one depth are equally long;
- there is no opening bracket beyond those lists.

Nothing then lies deeper than the rows' rank, so a line starts and ends outside of every row and
holds at least one; with as many rows as lines, it holds exactly one. simdjson refuses to copy out
anything but numbers: strings, booleans, null and objects included.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from app.casting import cast_exactly
from app.lines import Lines, as_lines
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, integer_range

_OPENING_BRACKETS = re.compile(rb"\[+")
_COMMA, _OPENING, _CLOSING = b",[]"


class NumberRowReader:
    """Reads rows of one numeric input. Not for several threads at once: it reuses its memory."""

    def __init__(self, name: str, spec: TensorSpec) -> None:
        self._spec = spec
        self._key = re.compile(rb"\{" + re.escape(orjson.dumps(name)) + rb": ?")
        self._parser = simdjson.Parser()
        self._memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._buffer_type, self._buffer_dtype = _buffer_types(spec)

    def read(self, lines: Lines) -> Array | None:
        """The tensor, its first dimension the batch.

        None where anything is not as expected, a blank line included.
        """
        bare = self._without_keys(lines) if lines.text.startswith(b"{") else lines
        if bare is None:
            return None
        document = self._memory_for(len(bare.text) + 1)
        document[0] = _OPENING
        document[1:] = np.frombuffer(bare.text, np.uint8)
        ends = bare.ends + 1
        rank = _rank(bare.text, self._spec)
        if rank and not _are_enclosed(document, ends, rank):
            return None
        document[ends] = _COMMA
        document[-1] = _CLOSING
        try:
            values = self._values(document, rows=len(ends), rank=rank)
        except (ValueError, TypeError, RuntimeError):
            # simdjson's words for: not JSON, not numbers, numbers beyond 64 bits.
            return None
        return None if values is None else cast_exactly(values, self._spec)

    def _memory_for(self, size: int) -> NDArray[np.uint8]:
        """Memory that is used again and again: fresh pages cost as much as filling them."""
        if size > len(self._memory):
            self._memory = np.empty(size + size // 4, np.uint8)
        return self._memory[:size]

    def _without_keys(self, lines: Lines) -> Lines | None:
        """Of lines `{"name": row}` the bare rows; None unless all have the first one's form."""
        key = self._key.match(lines.text)
        if key is None:
            return None
        count = len(lines.ends)
        rows = lines.text[key.end() :].replace(b"\n" + key[0], b"\n")
        if len(lines.text) - len(rows) != count * len(key[0]):
            return None
        bare = rows.replace(b"}\n", b"\n")
        return as_lines(lines.first, bare) if len(rows) - len(bare) == count else None

    def _values(self, document: NDArray[np.uint8], *, rows: int, rank: int) -> Array | None:
        parsed = self._parser.parse(document.data)
        assert isinstance(parsed, simdjson.Array)
        shape = _shape(parsed, rank)
        if shape is None or shape[0] != rows:
            return None
        if np.count_nonzero(document == _OPENING) != _lists(shape):
            return None
        return np.frombuffer(
            parsed.as_buffer(of_type=self._buffer_type), self._buffer_dtype
        ).reshape(shape)


def _buffer_types(spec: TensorSpec) -> tuple[Literal["d", "i", "u"], np.dtype[np.generic]]:
    if family(spec.dtype) == "float":
        return "d", np.dtype(np.float64)
    if integer_range(spec.dtype)[0] < 0:
        return "i", np.dtype(np.int64)
    return "u", np.dtype(np.uint64)


def _rank(rows: bytes, spec: TensorSpec) -> int:
    if spec.shape is not None:
        return len(spec.shape) - 1
    opening = _OPENING_BRACKETS.match(rows)
    return 0 if opening is None else len(opening[0])


def _are_enclosed(document: NDArray[np.uint8], ends: NDArray[np.intp], rank: int) -> bool:
    """Whether each line starts and ends with `rank` brackets; the first starts at 1."""
    starts = np.concatenate(([1], ends[:-1] + 1))
    if (ends - starts).min() < 2 * rank:
        return False
    return all(
        (document[starts + depth] == _OPENING).all()
        and (document[ends - 1 - depth] == _CLOSING).all()
        for depth in range(rank)
    )


def _shape(document: Any, rank: int) -> tuple[int, ...] | None:
    """The sizes of the batch and of `rank` dimensions below it; None where lists differ."""
    sizes = [len(document)]
    for depth in range(rank):
        lists: Iterable[Any] = document
        for _ in range(depth):
            lists = chain.from_iterable(lists)
        lengths = set(map(len, lists))
        if len(lengths) != 1:
            return None
        sizes.append(lengths.pop())
    return tuple(sizes)


def _lists(shape: tuple[int, ...]) -> int:
    """How many lists a document of this shape is made of: itself, its rows, and so on."""
    return int(np.cumprod((1, *shape[:-1])).sum())
