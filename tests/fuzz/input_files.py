"""Fuzzing of what reads the callers' data: bytes of every format to tensors.

    python -m tests.fuzz.input_files -runs=100000 [FOLDER OF A CORPUS]

Options are libFuzzer's: llvm.org/docs/LibFuzzer.html#options
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import atheris
import numpy as np
import orjson

with atheris.instrument_imports(include=["app"]):
    from app.config.file_format import InputFormat
    from app.config.job_spec import InstanceFields
    from app.errors import TooLarge, UnsupportedInput
    from app.formats.context import InstanceReader, ReaderContext
    from app.formats.csv import CsvReader
    from app.formats.jsonl import JsonLinesReader
    from app.formats.text import TextReader
    from app.formats.tfrecord import TfRecordReader
    from app.framing.batches import BatchLimits, make_batches
    from app.framing.gzipped import unpacked
    from app.job.row_errors import RowErrors, encode_row_error

from tests.fakes.groups import values_of
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.parse_spec import FeatureTypes


@dataclass(frozen=True, slots=True)
class Case:
    """A format, the inputs of a signature, what is asked of fields, and what the graph parses."""

    format: InputFormat
    inputs: dict[str, TensorSpec]
    fields: InstanceFields = field(default_factory=InstanceFields)
    method: str = ""
    parse_spec: FeatureTypes | None = None


def _spec(dtype: type, *shape: int | None) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape)


_NAMED = {"n": _spec(np.int64, None, None), "t": _spec(object, None)}
_COLUMNS = {"n": _spec(np.int64, None), "t": _spec(object, None), "b": _spec(np.bool_, None)}
_STRING = {"inputs": _spec(object, None)}
_KEY = InstanceFields(key="k", include_instance=True)
_FEATURES: FeatureTypes = {"n": "int64", "f": "float", "t": "bytes"}
_CASES = (
    Case("jsonl", {"x": _spec(np.float32, None, 2)}),
    Case("jsonl", {"x": TensorSpec(np.dtype(np.float64), None)}),
    Case("jsonl", {"x": _spec(np.int8, None)}),
    Case("jsonl", {"x": _spec(object, None)}),
    Case("jsonl", _NAMED),
    Case("jsonl", _NAMED, _KEY),
    Case("jsonl", _STRING, method="tensorflow/serving/classify"),
    Case("csv", {"x": _spec(np.float32, None, 2)}),
    Case("csv", {"x": _spec(np.float64, None, None)}, _KEY),
    Case("csv", _COLUMNS),
    Case("csv", _COLUMNS, _KEY),
    Case("tfrecord", _STRING),
    Case("tfrecord", _STRING, _KEY),
    Case("text", _STRING, InstanceFields(include_instance=True)),
    Case("csv", {"x": _spec(np.uint8, None, 2, 2)}),
    Case("csv", {"x": _spec(np.uint8, None, 2)}, InstanceFields(excluded=("",))),
    Case("csv", _STRING, _KEY, parse_spec=_FEATURES),
    Case("csv", _STRING, method="tensorflow/serving/classify"),
    Case("jsonl", _STRING, parse_spec=_FEATURES),
)
_MAX_LINE_BYTES = 40
_LIMITS = BatchLimits(max_rows=3, max_bytes=64)

# Per input the rows, what comes beside them, and the lines of the errors file; or why not.
Read = tuple[list[tuple[str, bytes]], list[tuple[bytes, ...]], list[bytes]] | str


def _reader(case: Case, faults: RowErrors) -> InstanceReader[Any]:
    signature = Signature("s", case.method, case.inputs, {})
    opening = ReaderContext(
        file="f",
        signature=signature,
        fields=case.fields,
        on_row_error=faults,
        max_line_bytes=_MAX_LINE_BYTES,
        parse_spec=lambda: case.parse_spec,
    )
    if case.format == "csv":
        return CsvReader(opening, instance_as_columns=False)
    readers: dict[str, Callable[[ReaderContext], InstanceReader[Any]]] = {
        "jsonl": JsonLinesReader,
        "text": TextReader,
        "tfrecord": TfRecordReader,
    }
    return readers[case.format](opening)


def read(data: bytes, case: Case, block: int) -> Read:
    """All of `data`, by the steps of a job that skips bad rows."""
    faults = RowErrors(skip=True)
    reader = _reader(case, faults)
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    rows: list[tuple[str, bytes]] = []
    beside: list[tuple[bytes, ...]] = []
    try:
        for batch in make_batches(reader.read(unpacked(blocks, file="f")), _LIMITS):
            instances = reader.instances(batch)
            for group in instances.groups:
                assert {len(tensor) for tensor in group.tensors.values()} == {len(group.rows)}
            found = sum(len(group.rows) for group in instances.groups)
            assert not reader.passthrough_names() or len(instances.passthrough.rows) == found
            for name, values in values_of(instances.groups).items():
                rows += [(name, repr(value).encode()) for value in values]
            beside += instances.passthrough.rows
    except UnsupportedInput as error:
        # Whether damage or the content before it is noticed first depends on the blocks.
        return "gzip" if data.startswith(b"\x1f\x8b\x08") else error.message
    bad = []
    for row in faults.up_to(None):
        line = encode_row_error(row, reader)
        assert line.count(b"\n") == 1
        members = orjson.loads(line)
        if row.error.kind is TooLarge:
            # How much there is of the beginning depends on the blocks.
            del members["instance"]
            members.pop("key", None)
        bad.append(orjson.dumps(members))
    return sorted(rows), beside, bad


def test_one_input(data: bytes) -> None:
    """Nothing is raised, no row is lost, and where blocks end does not matter."""
    if len(data) < 2:
        return
    case, block, text = _CASES[data[0] % len(_CASES)], 1 + data[1] % 50, data[2:]
    whole = read(text, case, len(text) or 1)
    assert whole == read(text, case, block)
    if case.format != "jsonl" or isinstance(whole, str) or text.startswith(b"\x1f\x8b\x08"):
        return
    rows, _, bad = whole
    lines = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    lines[-1] = lines[-1].removesuffix(b"\r")
    filled = sum(1 for line in lines if line and not line.isspace())
    blank_and_long = sum(1 for line in lines if line.isspace() and len(line) > _MAX_LINE_BYTES)
    assert len(rows) // len(case.inputs) + len(bad) == filled + blank_and_long


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
