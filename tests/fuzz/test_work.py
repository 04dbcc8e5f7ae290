"""The work of each reader is in proportion to its bytes, whatever they are.

Each input comes in two sizes, one eight times the other. Work that grew with the square would take
64 times as long; less than 28 times leaves room for whatever else the machine does. What is
compared is the processor time of this process alone, without Python's garbage collector.
"""

import gc
import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from app.config.job_spec import InstanceFields
from app.errors import UnsupportedInput
from app.formats.context import InstanceReader, ReaderContext
from app.formats.csv import CsvReader
from app.formats.jsonl import JsonLinesReader
from app.formats.text import TextReader
from app.formats.tfrecord import TfRecordReader
from app.framing.batches import BatchLimits, make_batches
from app.framing.gzipped import unpacked
from app.framing.tfrecord import frame
from app.job.row_errors import RowErrors
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import STRING

_TIMES = 8
_AT_MOST = 28
_LEAST_SECONDS = 0.004
_NUMBER = TensorSpec(np.dtype(np.float32), (None,))
_TEXT = TensorSpec(STRING, (None,))

Make = Callable[[int], bytes]

# Every input is about twenty kilobytes for n = 1.
_JSON: dict[str, Make] = {
    "token before quotes": lambda n: b'NaN"' + b'\\"' * 10_000 * n,
    "token before backslashes": lambda n: b'NaN"' + b"\\" * 20_000 * n,
    "tokens in strings": lambda n: b"[" + b'"NaN",' * 3_000 * n + b"NaN]",
    "minus signs": lambda n: b"[NaN," + b"-" * 20_000 * n + b"]",
    "digits": lambda n: b"[NaN," + b"1" * 20_000 * n + b"]",
    "decimals": lambda n: b"[NaN,1." + b"1" * 20_000 * n + b"e5]",
    "exponents": lambda n: b"[NaN,1e" + b"1" * 20_000 * n + b"]",
    "opening brackets": lambda n: b"[" * 20_000 * n,
    "empty lists": lambda n: b"[" + b"[]," * 7_000 * n + b"[]]",
    "keys": lambda n: b"{" + b",".join(b'"%d":1' % k for k in range(2_000 * n)) + b"}",
    "one key": lambda n: b"{" + b'"a":1,' * 3_000 * n + b'"a":1}',
    "escapes": lambda n: b'"' + b"\\u00e9" * 3_000 * n + b'"',
    "surrogates": lambda n: b'[NaN,"' + b"\\ud83d" * 3_000 * n + b'"]',
    "blank lines": lambda n: b"\n" * 20_000 * n + b"1",
    "white space": lambda n: b" \t\n" * 7_000 * n,
    "carriage returns": lambda n: b"\r" * 20_000 * n,
    "zeros": lambda n: b"\0" * 20_000 * n,
}
_NUMBERS_IN_CSV: dict[str, Make] = {
    "digits": lambda n: b"1" * 20_000 * n + b"x",
    "dots": lambda n: b"." * 20_000 * n,
}
_TEXT_IN_CSV: dict[str, Make] = {
    "cells": lambda n: b"," * 20_000 * n,
    "quotes": lambda n: b'"' * 20_000 * n,
    "lines in a cell": lambda n: b'"' + b"x\n" * 10_000 * n + b'"',
    "an open cell": lambda n: b'"' + b"x\n" * 10_000 * n,
    "quoted lines": lambda n: b'""\n' * 1_000 * n,
    "stray quotes": lambda n: b'a"b\n' * 1_000 * n,
    "a quote a line": lambda n: b'"\n' * 10_000 * n,
    "blank lines": lambda n: b"\n" * 20_000 * n,
    "nested lists": lambda n: b'"' + b"[" * 20_000 * n + b'"',
}
_OTHERS: dict[str, tuple[str, Make]] = {
    "empty records": ("tfrecord", lambda n: frame(b"") * 1_000 * n),
    "a long record": ("tfrecord", lambda n: frame(b"x" * 20_000 * n)),
    "blank lines": ("text", lambda n: b"\n" * 10_000 * n),
    "empty members": ("jsonl", lambda n: gzip.compress(b"", mtime=0) * 1_000 * n),
    "tiny members": ("jsonl", lambda n: gzip.compress(b"\n", mtime=0) * 1_000 * n),
    "padded members": ("jsonl", lambda n: (gzip.compress(b"", mtime=0) + b"\0") * 1_000 * n),
    "padding": ("jsonl", lambda n: gzip.compress(b"1\n", mtime=0) + b"\0" * 20_000 * n),
}
_CASES = [
    *[pytest.param("jsonl", make, id=f"json, {name}") for name, make in _JSON.items()],
    *[pytest.param("csv", make, id=f"csv, {name}") for name, make in _NUMBERS_IN_CSV.items()],
    *[pytest.param("csv of text", make, id=f"csv, {name}") for name, make in _TEXT_IN_CSV.items()],
    *[pytest.param(kind, make, id=f"{kind}, {name}") for name, (kind, make) in _OTHERS.items()],
]


def _reader(kind: str, faults: RowErrors, key: str | None) -> InstanceReader[Any]:
    takes_text = kind in ("text", "tfrecord", "csv of text")
    opening = ReaderContext(
        file="f",
        signature=Signature("s", "", {"x": _TEXT if takes_text else _NUMBER}, {}),
        fields=InstanceFields(key=key),
        on_row_error=faults,
        max_line_bytes=64 * 1024 * 1024,
    )
    if kind.startswith("csv"):
        return CsvReader(opening, instance_as_columns=False)
    readers: dict[str, Callable[[ReaderContext], InstanceReader[Any]]] = {
        "jsonl": JsonLinesReader,
        "text": TextReader,
        "tfrecord": TfRecordReader,
    }
    return readers[kind](opening)


def _read(kind: str, data: bytes, *, block: int, key: str | None) -> None:
    """All of it, as a job does that skips bad rows."""
    faults = RowErrors(skip=True)
    reader = _reader(kind, faults, key)
    data = b"x\n" + data if kind.startswith("csv") else data
    blocks: Iterator[bytes] = (data[at : at + block] for at in range(0, len(data), block))
    limits = BatchLimits(max_rows=4096, max_bytes=1024 * 1024)
    try:
        for batch in make_batches(reader.read(unpacked(blocks, file="f")), limits):
            reader.instances(batch)
            for row in faults.up_to(batch.last):
                reader.key(row.text)
    except UnsupportedInput:
        return


def _seconds(run: Callable[[], None]) -> float:
    gc.collect()
    gc.disable()
    try:
        started = time.process_time()
        run()
        return time.process_time() - started
    finally:
        gc.enable()


@pytest.mark.parametrize(("kind", "make"), _CASES)
@pytest.mark.parametrize(("block", "key"), [(1024 * 1024, None), (1024, "k")])
def test_work_is_in_proportion_to_the_bytes(
    kind: str, make: Make, block: int, key: str | None
) -> None:
    key = key if kind == "jsonl" else None
    small, large = make(1), make(_TIMES)
    for last_try in (False, False, True):
        few = _seconds(lambda: _read(kind, small, block=block, key=key))
        many = _seconds(lambda: _read(kind, large, block=block, key=key))
        # Work of a few milliseconds is mostly setting up.
        if many < _AT_MOST * max(few, _LEAST_SECONDS):
            return
        assert not last_try, f"{few:.3f} s for one part, {many:.3f} s for {_TIMES}"
