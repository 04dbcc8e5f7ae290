"""Regular rows of numbers, read as one buffer: the quickest way from text to a tensor.

The lines of a batch are joined to one JSON array, which simdjson parses and copies out as a flat
buffer of numbers. A flat buffer says nothing of where lists began and ended, so it is taken only
with a proof that each line is exactly one list of the same shape:

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
from itertools import chain, repeat
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from app.casting import cast_exactly
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, integer_range

_OPENING = ord("[")


class NumberRowReader:
    """Reads rows of one numeric input. Not for several threads at once: it reuses its memory."""

    def __init__(self, name: str, spec: TensorSpec) -> None:
        self._spec = spec
        self._key = re.compile(rb"\{" + re.escape(orjson.dumps(name)) + rb": ?")
        self._parser = simdjson.Parser()
        self._buffer_type, self._buffer_dtype = _buffer_types(spec)

    def read(self, texts: list[bytes]) -> Array | None:
        """The tensor, its first dimension the batch; None where anything is not as expected."""
        bodies = self._bodies(texts)
        if bodies is None:
            return None
        rank = _rank(bodies[0], self._spec)
        if rank and not _all_enclosed(bodies, b"[" * rank, b"]" * rank):
            return None
        try:
            values, shape = self._values(bodies, rank)
        except (ValueError, TypeError, RuntimeError):
            # simdjson's words for: not JSON, not numbers, numbers beyond 64 bits.
            return None
        if values is None:
            return None
        return cast_exactly(values.reshape(shape), self._spec)

    def _bodies(self, texts: list[bytes]) -> list[bytes] | None:
        """The bare rows: of `{"name": row}` what is behind the key, the same in every line."""
        if not texts[0].startswith(b"{"):
            return texts
        key = self._key.match(texts[0])
        if key is None or not _all_enclosed(texts, key[0], b"}"):
            return None
        start = key.end()
        return [text[start:-1] for text in texts]

    def _values(self, rows: list[bytes], rank: int) -> tuple[Array | None, tuple[int, ...]]:
        text = b"[" + b",".join(rows) + b"]"
        document = self._parser.parse(text)
        assert isinstance(document, simdjson.Array)
        shape = _shape(document, rank)
        if shape is None or shape[0] != len(rows) or _brackets(text) != _lists(shape):
            return None, ()
        buffer = document.as_buffer(of_type=self._buffer_type)
        return np.frombuffer(buffer, self._buffer_dtype), shape


def _buffer_types(spec: TensorSpec) -> tuple[Literal["d", "i", "u"], np.dtype[np.generic]]:
    if family(spec.dtype) == "float":
        return "d", np.dtype(np.float64)
    if integer_range(spec.dtype)[0] < 0:
        return "i", np.dtype(np.int64)
    return "u", np.dtype(np.uint64)


def _rank(row: bytes, spec: TensorSpec) -> int:
    return len(row) - len(row.lstrip(b"[")) if spec.shape is None else len(spec.shape) - 1


def _all_enclosed(texts: list[bytes], start: bytes, end: bytes) -> bool:
    return all(map(bytes.startswith, texts, repeat(start))) and all(
        map(bytes.endswith, texts, repeat(end))
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


def _brackets(text: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == _OPENING))
