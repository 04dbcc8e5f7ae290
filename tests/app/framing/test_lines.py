from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import TooLarge
from app.framing.batches import BatchLimits, make_batches
from app.framing.lines import as_lines, read_lines, without_blank_lines
from app.job.row_errors import RowErrors
from tests.fakes.row_errors import raising


def numbered(*blocks: bytes, max_line_bytes: int = 1000) -> list[tuple[int, bytes]]:
    numbered_lines: list[tuple[int, bytes]] = []
    on_row_error = raising("f")
    for lines in read_lines(blocks, max_line_bytes=max_line_bytes, on_row_error=on_row_error):
        texts = lines.text.split(b"\n")
        assert texts.pop() == b""
        assert np.diff(lines.ends, prepend=-1).tolist() == [len(text) + 1 for text in texts]
        numbered_lines += enumerate(texts, lines.first)
    return numbered_lines


def test_lines_count_from_one_with_blanks() -> None:
    """Lines are numbered from one and blank ones count."""
    assert numbered(b"a\n\nb\n") == [(1, b"a"), (2, b""), (3, b"b")]


def test_the_last_line_needs_no_end() -> None:
    assert numbered(b"a\nb") == [(1, b"a"), (2, b"b")]


def test_a_file_without_a_byte_has_no_lines() -> None:
    assert numbered() == []
    assert numbered(b"", b"") == []


def test_windows_line_ends_are_line_ends() -> None:
    assert numbered(b"a\r\nb\r", b"\nc\r\n") == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert numbered(b"\xef\xbb", b"\xbfa\n\xef\xbb\xbfb") == [(1, b"a"), (2, b"\xef\xbb\xbfb")]
    assert numbered(b"\xef\xbb\xbf") == []


# Gzipped files are refused.
TEXTS = st.binary(max_size=200).filter(lambda data: not data.startswith(b"\x1f\x8b"))


@given(TEXTS, st.lists(st.integers(0, 200), max_size=8))
def test_where_blocks_are_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    blocks = [data[start:end] for start, end in pairwise(edges)]
    assert numbered(*blocks) == numbered(data)


def test_a_line_as_long_as_the_limit_is_taken() -> None:
    assert numbered(b"x" * 10 + b"\r\n" + b"\xef", max_line_bytes=10)[0] == (1, b"x" * 10)
    assert numbered(b"\xef\xbb\xbf" + b"x" * 10, max_line_bytes=10) == [(1, b"x" * 10)]


@pytest.mark.parametrize(
    "blocks",
    [(b"a\n" + b"x" * 11 + b"\nb\n",), (b"a\n", b"x" * 6, b"x" * 5), (b"a\n", *[b"x"] * 99)],
)
def test_a_longer_line_is_an_error_that_names_it(blocks: tuple[bytes, ...]) -> None:
    with pytest.raises(
        TooLarge, match=r"f, line 2: longer than 10 bytes.*MAX_LINE_BYTES"
    ) as caught:
        numbered(*blocks, max_line_bytes=10)
    assert caught.value.details == {"file": "f", "line": 2, "field": None}


@given(
    st.lists(st.binary(max_size=15).filter(lambda line: b"\n" not in line), max_size=9),
    st.lists(st.integers(0, 150), max_size=8),
)
def test_too_long_lines_keep_other_numbers(lines: list[bytes], cuts: list[int]) -> None:
    # None of what means something at the beginning of a file or at the end of a line.
    """Lines that are too long are skipped and the others keep their numbers."""
    lines = [line.translate(bytes.maketrans(b"\r\xef\x1f", b"cef")) for line in lines]
    data = b"\n".join(lines)
    edges = [0, *sorted(cuts), len(data)]
    blocks = [data[start:end] for start, end in pairwise(edges)]
    faults = RowErrors(skip=True)
    kept = {}
    for group in read_lines(blocks, max_line_bytes=7, on_row_error=faults):
        kept.update(dict(enumerate(group.text[:-1].split(b"\n"), group.first)))
    bad = faults.up_to(None)
    expected = dict(enumerate(lines, 1))
    assert [row.error.number for row in bad] == [n for n, line in expected.items() if len(line) > 7]
    for row in bad:
        assert expected[row.error.number].startswith(row.text)
        assert row.text
    good = {number: line for number, line in expected.items() if 0 < len(line) <= 7}
    assert {number: line for number, line in kept.items() if line} == good


@pytest.mark.parametrize("size", [8, 100_000, 3_000_000])
def test_nothing_after_first_fatal_row_is_read(size: int) -> None:
    """Where the first bad row ends the job nothing after it is read."""

    def blocks() -> Iterator[bytes]:
        yield b"a\nb\n" + b"x" * size + b"\n" + b"y\n"
        yield from (b"z" * 1000 + b"\n" for _ in range(3000))
        raise AssertionError("read to the end")

    faults = RowErrors(skip=False)
    kept = [
        line
        for group in read_lines(blocks(), max_line_bytes=7, on_row_error=faults)
        for line in group.text.split(b"\n")
    ]
    assert [line for line in kept if line] == [b"a", b"b"]
    (row,) = faults.up_to(None)
    assert row.error.number == 3


def test_of_an_endless_line_only_its_beginning_is_kept() -> None:
    faults = RowErrors(skip=True)
    blocks = (b"x" * 1000 for _ in range(20_000))
    assert list(read_lines(blocks, max_line_bytes=100, on_row_error=faults)) == []
    (row,) = faults.up_to(None)
    assert (row.error.number, row.error.kind) == (1, TooLarge)
    assert len(row.text) < 1000


def test_endless_line_is_refused_early() -> None:
    """An endless line is refused before it is read to its end."""

    def endless() -> Iterator[bytes]:
        for count in range(1000):
            assert count < 20, "read on beyond the limit"
            yield b"x" * 10

    with pytest.raises(TooLarge):
        list(read_lines(endless(), max_line_bytes=100, on_row_error=raising("f")))


def test_blocks_larger_than_a_piece_give_the_same_lines() -> None:
    data = b"\n".join(b"%d" % number for number in range(500_000))
    assert [text for _, text in numbered(data)] == data.split(b"\n")


@given(
    st.lists(st.sampled_from(["", " ", "\t \r", "x", " x", "xy z", "\x0b\x0c"]), max_size=60),
    st.integers(1, 7),
)
def test_rows_keep_numbers_without_blank_lines(texts: list[str], size: int) -> None:
    """Also in parts, and in batches that are joined from several of them."""
    content = "".join(text + "\n" for text in texts).encode()
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    expected = [
        (n, text.encode()) for n, text in enumerate(texts, 1) if text and not text.isspace()
    ]
    groups = list(read_lines(blocks, max_line_bytes=100, on_row_error=lambda _fault, _text: True))
    kept = list(without_blank_lines(groups))
    found = [
        (number, text.removesuffix(b"\r"))
        for batch in make_batches(kept, BatchLimits(max_rows=4, max_bytes=20))
        for part in (batch.part(0, 1), batch.part(1, len(batch.ends)))
        if len(part.ends)
        for number, text in part.rows()
    ]
    assert found == expected
    assert [batch.last for batch in kept] == [batch.all_numbers()[-1] for batch in kept]


def test_runs_of_blank_lines_fill_no_batches() -> None:
    content = (b"\n" * 5000 + b"1\n") * 10
    lines = read_lines([content], max_line_bytes=100, on_row_error=lambda _fault, _text: True)
    (batch,) = make_batches(without_blank_lines(lines), BatchLimits(max_rows=4096, max_bytes=9999))
    assert [number for number, _ in batch.rows()] == [5001 * n for n in range(1, 11)]


def test_long_lines_are_not_looked_at_again() -> None:
    lines = as_lines(1, b"x" * 100 + b"\n\n")
    assert list(without_blank_lines([lines])) == [lines]
