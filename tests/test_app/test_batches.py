from hypothesis import given
from hypothesis import strategies as st

from app.batches import BatchLimits, make_batches
from app.lines import Lines

TEXT = st.binary(max_size=12)


def batches(
    groups: list[Lines], rows: int = 3, size: int = 1000
) -> list[tuple[list[int], list[bytes]]]:
    limits = BatchLimits(max_rows=rows, max_bytes=size)
    return [(list(batch.numbers), batch.texts) for batch in make_batches(groups, limits)]


def test_batches_are_filled_across_groups_and_the_rest_comes_last() -> None:
    groups = [Lines(1, [b"a", b"b"]), Lines(3, [b"c", b"d"])]
    assert batches(groups) == [([1, 2, 3], [b"a", b"b", b"c"]), ([4], [b"d"])]


def test_blank_lines_are_no_rows_but_keep_their_numbers() -> None:
    assert batches([Lines(1, [b"", b"a", b" \t", b"b"])]) == [([2, 4], [b"a", b"b"])]


def test_blank_lines_alone_make_no_batch() -> None:
    assert batches([Lines(1, [b"", b" "]), Lines(3, [])]) == []


def test_a_batch_is_full_once_it_holds_so_many_bytes() -> None:
    groups = [Lines(1, [b"aaaa", b"bb", b"c", b"dddddddddd", b"e"])]
    assert [numbers for numbers, _ in batches(groups, rows=9, size=6)] == [[1, 2], [3, 4], [5]]


@given(st.lists(st.lists(TEXT, max_size=9), max_size=6), st.integers(1, 5), st.integers(1, 30))
def test_no_row_is_lost_and_no_batch_is_over_its_limits(
    texts: list[list[bytes]], rows: int, size: int
) -> None:
    groups, first = [], 1
    for group in texts:
        groups.append(Lines(first, group))
        first += len(group)
    made = batches(groups, rows, size)
    everything = [text for group in texts for text in group]
    assert [number for numbers, _ in made for number in numbers] == [
        number for number, text in enumerate(everything, 1) if text.strip()
    ]
    assert [text for _, part in made for text in part] == [t for t in everything if t.strip()]
    for _, part in made:
        assert 1 <= len(part) <= rows
        assert sum(map(len, part[:-1])) < size
    for _, part in made[:-1]:
        assert len(part) == rows or sum(map(len, part)) >= size
