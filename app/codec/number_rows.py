"""The fast path for rows of numbers: a batch is parsed into one buffer.

The lines of a batch become one JSON array, which simdjson parses into a flat buffer of numbers. A
flat buffer does not show where lists begin and end, so it is used only with a proof that each line
is exactly one list of the same shape:

- each line, without `{"name": ` and `}` where all have them, starts with as many opening brackets
  as rows have dimensions, and ends with as many closing ones;
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

from app.codec.casting import cast_exactly, ends_in_one, with_last_dimension
from app.codec.slow_path import DEEPEST_NESTING
from app.framing.lines import Lines
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, integer_range

_COMMA, _OPENING, _CLOSING, _CLOSING_BRACE, _BLANK = b",[]} "


class NumberDocument:
    """Reads JSON arrays of numbers, or of lists of numbers, for one dtype.

    Not thread-safe, because it reuses its memory.
    """

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._parser = simdjson.Parser()
        self._memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._buffer_type, self._buffer_dtype = _buffer_types(spec)

    def memory(self, size: int) -> NDArray[np.uint8]:
        """A reused buffer: page faults of a new one cost as much as filling it."""
        if size > len(self._memory):
            self._memory = np.empty(size + size // 4, np.uint8)
        return self._memory[:size]

    def read(self, document: NDArray[np.uint8], *, rows: int, rank: int) -> Array | None:
        """Read `rows` lists of `rank` dimensions in the spec's dtype; None if that fails."""
        try:
            values = self._values(document, rows=rows, rank=rank)
        except (ValueError, TypeError, RuntimeError):
            # simdjson raises these for invalid JSON, other types, and numbers beyond 64 bits.
            return None
        return None if values is None else cast_exactly(values, self._spec)

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


class NumberRowReader:
    """Reads rows of one numeric input. Not thread-safe."""

    def __init__(self, name: str, spec: TensorSpec) -> None:
        self._spec = spec
        self._key = re.compile(rb"\{" + re.escape(orjson.dumps(name)) + rb": ?")
        self._document = NumberDocument(spec)

    def read(self, lines: Lines) -> Array | None:
        """Read a tensor [batch, ...]; None if any line is irregular or blank."""
        document = self._document.memory(len(lines.text) + 1)
        document[0] = _OPENING
        document[1:] = np.frombuffer(lines.text, np.uint8)
        ends = lines.ends + 1
        document[ends] = _COMMA
        document[-1] = _CLOSING
        starts = np.concatenate(([1], ends[:-1] + 1))
        if lines.text.startswith(b"{"):
            key = self._key.match(lines.text)
            if key is None or not _blank_out(document, starts, ends, key[0]):
                return None
            starts, ends = starts + key.end(), ends - 1
        rank = self._rank(document[starts[0] :])
        if rank > DEEPEST_NESTING or not _are_enclosed(document, starts, ends, rank):
            return None
        tensor = self._document.read(document, rows=len(starts), rank=rank)
        return None if tensor is None else with_last_dimension(tensor, self._spec)

    def _rank(self, row: NDArray[np.uint8]) -> int:
        if self._spec.shape is not None and not ends_in_one(self._spec):
            return len(self._spec.shape) - 1
        # A longer run of brackets is nested too deeply.
        found = int(np.argmax(row[: DEEPEST_NESTING + 2] != _OPENING))
        if self._spec.shape is None:
            return found
        rank = len(self._spec.shape) - 1
        return found if found == rank - 1 else rank


def _buffer_types(spec: TensorSpec) -> tuple[Literal["d", "i", "u"], np.dtype[np.generic]]:
    if family(spec.dtype) == "float":
        return "d", np.dtype(np.float64)
    if integer_range(spec.dtype)[0] < 0:
        return "i", np.dtype(np.int64)
    return "u", np.dtype(np.uint64)


def _blank_out(
    document: NDArray[np.uint8], starts: NDArray[np.intp], ends: NDArray[np.intp], key: bytes
) -> bool:
    """Blank out `key` and the closing brace of each line; False if a line lacks them."""
    if (ends - starts).min() <= len(key):
        return False
    if not (document[ends - 1] == _CLOSING_BRACE).all():
        return False
    for offset, character in enumerate(key):
        if not (document[starts + offset] == character).all():
            return False
        document[starts + offset] = _BLANK
    document[ends - 1] = _BLANK
    return True


def _are_enclosed(
    document: NDArray[np.uint8], starts: NDArray[np.intp], ends: NDArray[np.intp], rank: int
) -> bool:
    """Whether each row starts and ends with `rank` brackets."""
    if (ends - starts).min() < 2 * rank:
        return False
    return all(
        (document[starts + depth] == _OPENING).all()
        and (document[ends - 1 - depth] == _CLOSING).all()
        for depth in range(rank)
    )


def _shape(document: Any, rank: int) -> tuple[int, ...] | None:
    """The sizes of the batch and of `rank` dimensions below it; None if lists differ in length."""
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
    """The number of lists in a document of this shape, nested ones included."""
    return int(np.cumprod((1, *shape[:-1])).sum())
