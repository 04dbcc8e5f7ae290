import sys

from hypothesis import given
from hypothesis import strategies as st

from app.framing.batches import BatchLimits, make_batches
from app.framing.lines import as_lines


def batches(*groups: list[bytes], rows: int = 3, size: int = 1000) -> list[list[tuple[int, bytes]]]:
    limits = BatchLimits(max_rows=rows, max_bytes=size)
    numbered, first = [], 1
    for texts in groups:
        numbered.append(as_lines(first, b"".join(text + b"\n" for text in texts)))
        first += len(texts)
    made = list(make_batches(numbered, limits))
    for batch in made:
        lines = batch.text.split(b"\n")
        assert lines.pop() == b""
        assert 1 <= len(lines) <= rows
        assert len(batch.text) <= size or len(lines) == 1
    return [batch.rows() for batch in made]


def test_batches_fill_across_groups() -> None:
    """Batches are filled across groups and the rest comes last."""
    assert batches([b"a", b"b"], [b"c", b"d"]) == [
        [(1, b"a"), (2, b"b"), (3, b"c")],
        [(4, b"d")],
    ]


def test_blank_lines_are_no_rows_but_keep_their_numbers() -> None:
    assert batches([b"", b"a", b" \t", b"b"], rows=9) == [[(2, b"a"), (4, b"b")]]


def test_blank_lines_alone_have_no_rows() -> None:
    assert batches([b"", b" "], []) == [[]]
    assert batches() == []


def test_batch_is_bounded_by_bytes_or_one_line() -> None:
    """A batch holds so many bytes unless a single line has more."""
    lines = [b"aaaa", b"bb", b"c", b"dddddddddd", b"e"]
    made = batches(lines, rows=9, size=8)
    assert [[number for number, _ in batch] for batch in made] == [[1, 2], [3], [4], [5]]


def test_without_a_limit_in_bytes_rows_alone_count() -> None:
    made = batches([b"a"] * 7, rows=3, size=sys.maxsize)
    assert [len(batch) for batch in made] == [3, 3, 1]


def test_a_group_that_fits_is_not_copied() -> None:
    lines = as_lines(1, b"a\nb\n")
    (batch,) = make_batches([lines], BatchLimits(max_rows=9, max_bytes=99))
    assert batch is lines


@given(
    st.lists(
        st.lists(st.binary(max_size=12).filter(lambda t: b"\n" not in t), max_size=9), max_size=6
    ),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_no_row_is_lost_and_no_batch_is_over_its_limits(
    groups: list[list[bytes]], rows: int, size: int
) -> None:
    everything = enumerate((text for group in groups for text in group), 1)
    made = batches(*groups, rows=rows, size=size)
    assert [row for batch in made for row in batch] == [
        (number, text) for number, text in everything if text.strip()
    ]
