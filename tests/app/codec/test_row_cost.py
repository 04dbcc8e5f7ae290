"""Rows that would take far more memory than their text, refused before they are parsed."""

import numpy as np
import orjson
import pytest

from app.codec.instances import InstanceEncoder
from app.codec.row_cost import row_cost, without_costly_rows
from app.errors import TooLarge
from app.framing.lines import as_lines
from app.job.row_errors import RowErrors
from tests.fakes.groups import values_of
from tfserving_launcher import Signature, TensorSpec

MEBIBYTE = 1024 * 1024
LONGEST = 16 * MEBIBYTE
NUMBERS = TensorSpec(np.dtype(np.float32), None)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        (b"1", 0),
        (b"[1,2,3]", 72 + 2 * 36),
        (b'{"a":1,"b":2}', 72 + 36 + 2 * 100 + 2 * 52),
        (b'"[[[,,,:::{{{"', 52),
        (b'"a\\"[[["', 52),
        (b'"a\\\\",[[', 52 + 36 + 2 * 72),
        (b"", 0),
    ],
)
def test_only_marks_outside_of_strings_count(text: bytes, cost: int) -> None:
    assert row_cost(text) == cost


def test_strings_are_followed_from_piece_to_piece() -> None:
    text = b'["' + b"," * (3 * MEBIBYTE) + b'",' + b"[],[]" + b"]"
    assert row_cost(text) == 3 * 72 + 2 * 36 + 52


@pytest.mark.parametrize(
    "row",
    [
        b"{" + b",".join(b'"%d":1' % key for key in range(700_000)) + b"}",
        b"{" + b'"":0,' * 2_000_000 + b'"":0}',
        b"[" + b"[]," * 2_000_000 + b"[]]",
        b"[" + b"{}," * 2_000_000 + b"{}]",
        b"[" + b"0," * 5_500_000 + b"0]",
        b"[" + b'"",' * 2_000_000 + b'""]',
    ],
    ids=["keys", "one key", "lists", "objects", "numbers", "strings"],
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_costly_row_is_too_large_neighbours_are_read(row: bytes, *, goes_on: bool) -> None:
    """A costly row is too large and its neighbours are read."""
    faults = RowErrors(skip=goes_on)
    signature = Signature("s", "", {"x": NUMBERS}, {})
    encoder = InstanceEncoder(signature, faults, max_line_bytes=LONGEST)
    groups = encoder.encode(as_lines(7, b"1\n" + row + b"\n2\n"))
    (bad,) = faults.up_to(None)
    assert (bad.error.number, bad.error.kind, bad.error.shows_all) == (8, TooLarge, False)
    assert "MAX_LINE_BYTES" in bad.error.message
    assert len(bad.text) < 1000
    assert values_of(groups)["x"] == ([1, 2] if goes_on else [1])


def test_an_image_of_numbers_is_not_too_large() -> None:
    faults = RowErrors(skip=False)
    signature = Signature("s", "", {"x": NUMBERS}, {})
    encoder = InstanceEncoder(signature, faults, max_line_bytes=LONGEST)
    image = np.full((1024, 1024, 3), 0.25, np.float32)
    line = orjson.dumps(image, option=orjson.OPT_SERIALIZE_NUMPY)
    (group,) = encoder.encode(as_lines(1, line + b"\n"))
    assert group.tensors["x"].shape == (1, 1024, 1024, 3)
    assert faults.up_to(None) == []


def test_short_rows_are_not_looked_at() -> None:
    lines = as_lines(1, b"[" + b"[]," * 100_000 + b"[]]\n")
    assert without_costly_rows(lines, 1, RowErrors(skip=True)) is lines
