"""What is measured: for each case a model, and an input of so many rows."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson

FLOATS, INTEGERS, STRINGS = 8, 6, 6
LONG_ROW = 44_000

_WORDS = ["Amsterdam", "Berlin", "Copenhagen", "Dublin", "Edinburgh", "Florence"]


@dataclass(frozen=True, slots=True)
class Case:
    """`line` makes one row's text; `rows` and `quick_rows` say how many there are.

    `at_most` is the ratio to the script with TensorFlow that the case is to reach.
    """

    name: str
    model: str
    rows: int
    quick_rows: int
    at_most: float
    line: Callable[[np.random.Generator], bytes]

    def data(self, rows: int) -> bytes:
        """JSON lines. Long inputs repeat a block of different rows."""
        random = np.random.default_rng(7)
        block = [self.line(random) for _ in range(min(rows, 5_000))]
        return b"\n".join(block[n % len(block)] for n in range(rows)) + b"\n"


def _floats(count: int) -> Callable[[np.random.Generator], bytes]:
    return lambda random: orjson.dumps(random.normal(size=count).round(7).tolist())


def _named_floats(random: np.random.Generator) -> bytes:
    return b'{"x": ' + _floats(100)(random) + b"}"


def _tabular(random: np.random.Generator) -> bytes:
    row: dict[str, object] = {f"f{n}": round(random.normal(), 5) for n in range(FLOATS)}
    row |= {f"i{n}": int(random.integers(0, 10**6)) for n in range(INTEGERS)}
    row |= {f"s{n}": str(random.choice(_WORDS)) for n in range(STRINGS)}
    return orjson.dumps(row)


def _binary(random: np.random.Generator) -> bytes:
    return orjson.dumps({"b64": base64.b64encode(random.bytes(20_000)).decode()})


def _scalar(random: np.random.Generator) -> bytes:
    return orjson.dumps(round(random.normal(), 6))


CASES = (
    Case("wide", "network", 100_000, 20_000, 0.5, _floats(100)),
    Case("wide, named", "network", 100_000, 20_000, 0.5, _named_floats),
    Case("tabular", "tabular", 100_000, 20_000, 0.8, _tabular),
    Case("tabular, [?, 1]", "columns_of_one", 100_000, 20_000, 0.8, _tabular),
    Case("long", "long", 200, 50, 0.8, _floats(LONG_ROW)),
    Case("binary", "binary", 5_000, 1_000, 0.8, _binary),
    Case("scalar", "scalar", 1_000_000, 200_000, 0.8, _scalar),
)
