"""Fuzzing of what reads the callers' data: bytes to lines, lines to tensors.

    python -m tests.fuzz.lines_and_instances -runs=100000 [FOLDER OF A CORPUS]

Options are libFuzzer's: llvm.org/docs/LibFuzzer.html#options
"""

import sys

import atheris
import numpy as np

with atheris.instrument_imports(include=["app"]):
    from app.bad_rows import BadRows, encode_bad_row
    from app.batches import BatchLimits, make_batches
    from app.instances import InstanceEncoder
    from app.lines import read_lines

from tfserving_launcher import Signature, TensorSpec

_SPECS = (
    {"x": TensorSpec(np.dtype(np.float32), (None, 2))},
    {"x": TensorSpec(np.dtype(np.float64), None)},
    {"x": TensorSpec(np.dtype(np.int8), (None,))},
    {"x": TensorSpec(np.dtype(object), (None,))},
    {
        "n": TensorSpec(np.dtype(np.int64), (None, None)),
        "t": TensorSpec(np.dtype(object), (None,)),
    },
)
_MAX_LINE_BYTES = 40
_LIMITS = BatchLimits(max_rows=3, max_bytes=64)

# Per input a digest of its rows, and each bad row with its line and message.
Read = tuple[list[tuple[str, bytes]], list[tuple[int, str]]]


def read(data: bytes, spec: dict[str, TensorSpec], block: int, *, quick: bool) -> Read:
    """All of `data`, by the steps of a job that skips bad rows."""
    faults = BadRows(skip=True)
    encoder = InstanceEncoder(Signature("s", "", spec, {}), faults)
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    lines = read_lines(blocks, max_line_bytes=_MAX_LINE_BYTES, file="f", on_fault=faults)
    rows: list[tuple[str, bytes]] = []
    for batch in make_batches(lines, _LIMITS):
        tensors = encoder.encode(batch) if quick else encoder.careful(batch)
        assert len({len(tensor) for tensor in tensors.values()}) <= 1
        for name, tensor in tensors.items():
            rows += [(name, repr(row).encode()) for row in tensor]
    bad = faults.up_to(None)
    for row in bad:
        assert encode_bad_row(row).count(b"\n") == 1
    return rows, [(row.fault.line, row.fault.message) for row in bad]


def test_one_input(data: bytes) -> None:
    """Nothing is raised, no row is lost, and neither blocks nor ways of reading matter."""
    if len(data) < 2 or data[2:4] == b"\x1f\x8b":
        return
    spec, block, text = _SPECS[data[0] % len(_SPECS)], 1 + data[1] % 50, data[2:]
    rows, bad = read(text, spec, len(text) or 1, quick=True)
    assert (rows, bad) == read(text, spec, block, quick=True)
    lines = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    lines[-1] = lines[-1].removesuffix(b"\r")
    filled = sum(1 for line in lines if line and not line.isspace())
    blank_and_long = sum(1 for line in lines if line.isspace() and len(line) > _MAX_LINE_BYTES)
    assert len(rows) // len(spec) + len(bad) == filled + blank_and_long


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
