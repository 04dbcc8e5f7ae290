"""Limits the rows of a batch by the size of the model's answers.

An image mask of 65,536 floats is made from one number: batches that only follow their input would
fill the memory. Where the signature gives the shapes of all outputs, the size of a row's answer is
known. Otherwise the first batch has two rows, each one after it at most four times as many as were
answered before, and sizes are taken from the answers.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul

from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family

_MEBIBYTE = 1024 * 1024
# Bytes of answers: of one batch, and of all that wait to be written. Encoding JSON takes three to
# six times as much.
_BATCH_BYTES = 2 * _MEBIBYTE
MOST_WAITING_BYTES = 4 * _MEBIBYTE
_FIRST_ROWS = 2
_GROWTH = 4
# Small dtypes are as long in JSON as larger ones.
_SMALLEST_VALUE_BYTES = 4
# The brackets and the comma of a list in JSON.
_LIST_BYTES = 3
# Python's overhead per string.
_STRING_BYTES = 40


class AnswerSize:
    """Estimates answer sizes. One thread updates it, and another one reads it.

    All files of a job share it. `largest` is the most bytes that the answer to one row may have.
    """

    def __init__(self, outputs: Mapping[str, TensorSpec], largest: int) -> None:
        self._row_bytes = _row_bytes_by_shape(outputs)
        self._is_fixed = self._row_bytes is not None
        self._most_rows = _FIRST_ROWS
        self.largest = largest

    def rows(self) -> int:
        """The maximum rows of the next batch."""
        if self._row_bytes is None:
            return self._most_rows
        rows = max(1, _BATCH_BYTES // max(1, self._row_bytes))
        return rows if self._is_fixed else min(rows, self._most_rows)

    def of_rows(self, rows: int) -> int:
        """The expected bytes of the answer to `rows` rows."""
        return MOST_WAITING_BYTES if self._row_bytes is None else rows * self._row_bytes

    def answered(self, outputs: Mapping[str, Array], rows: int) -> None:
        """Update the estimate from an answer to `rows` rows."""
        if not self._is_fixed:
            self._learn(answer_bytes(outputs), rows)

    def was_too_large(self, rows: int) -> None:
        """Update the estimate after the answer to `rows` rows was too large."""
        if not self._is_fixed:
            self._learn(_BATCH_BYTES * 2, rows)

    def failed(self, rows: int) -> None:
        """Allow larger batches after the model failed on `rows` rows, which had no answer."""
        if self._row_bytes is None:
            self._most_rows = max(self._most_rows, _GROWTH * rows)

    def _learn(self, size: int, rows: int) -> None:
        row_bytes = math.ceil(size / rows)
        # Forget a single batch of long answers after a while.
        self._row_bytes = max(row_bytes, (self._row_bytes or 0) // 2)
        self._most_rows = min(sys.maxsize, max(self._most_rows, _GROWTH * rows))


def answer_bytes(outputs: Mapping[str, Array]) -> int:
    """The size of an answer, with small values counted by the length of their JSON."""
    return sum(map(_array_bytes, outputs.values()))


def _array_bytes(array: Array) -> int:
    lists = _LIST_BYTES * _lists(array.shape)
    if family(array.dtype) == "string":
        return lists + sum(map(len, array.ravel().tolist())) + _STRING_BYTES * array.size
    return lists + array.size * max(array.dtype.itemsize, _SMALLEST_VALUE_BYTES)


def _lists(shape: Sequence[int]) -> int:
    """The number of JSON lists within the rows of an array, empty ones included."""
    return sum(accumulate(shape[:-1], mul)) - shape[0] if len(shape) > 1 else 0


def _row_bytes_by_shape(outputs: Mapping[str, TensorSpec]) -> int | None:
    """The answer size of one row; None if a shape is open, or if an output is a string."""
    total = 0
    for spec in outputs.values():
        if spec.shape is None or None in spec.shape[1:] or family(spec.dtype) == "string":
            return None
        row = [1, *(size for size in spec.shape[1:] if size is not None)]
        total += _LIST_BYTES * _lists(row)
        total += math.prod(row) * max(spec.dtype.itemsize, _SMALLEST_VALUE_BYTES)
    return total
