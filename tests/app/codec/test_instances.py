"""The quick way and the slow way of reading a batch: they agree, or the quick one declines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.codec.instances import InstanceEncoder
from app.codec.number_rows import NumberRowReader
from app.errors import InvalidInstance
from app.framing.lines import Lines, as_lines
from tests.fakes.groups import assert_same, tensors_of
from tests.fakes.row_errors import raising
from tfserving_launcher import Signature, TensorSpec

SPECS = {
    "float": TensorSpec(np.dtype(np.float32), (None,)),
    "pair": TensorSpec(np.dtype(np.float64), (None, 2)),
    "column": TensorSpec(np.dtype(np.float32), (None, 1)),
    "small_column": TensorSpec(np.dtype(np.int8), (None, 1)),
    "flag_column": TensorSpec(np.dtype(np.bool_), (None, 1)),
    "text_column": TensorSpec(np.dtype(object), (None, 1)),
    "steps": TensorSpec(np.dtype(np.float32), (None, None, 1)),
    "free": TensorSpec(np.dtype(np.float32), None),
    "small": TensorSpec(np.dtype(np.int8), (None,)),
    "large": TensorSpec(np.dtype(np.int64), (None, None)),
    "unsigned": TensorSpec(np.dtype(np.uint64), (None,)),
    "flag": TensorSpec(np.dtype(np.bool_), (None,)),
    "text": TensorSpec(np.dtype(object), (None,)),
}

LEAVES = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.just({"b64": "AA=="}),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def encoder(*names: str) -> InstanceEncoder:
    inputs = {name: SPECS[name] for name in sorted(names)}
    return InstanceEncoder(Signature("s", "", inputs, {}), raising("file"))


def batch(rows: list[Any]) -> Lines:
    return text_batch(*(orjson.dumps(row).decode() for row in rows))


def text_batch(*lines: str) -> Lines:
    return as_lines(1, "".join(line + "\n" for line in lines).encode())


@given(st.sampled_from(sorted(SPECS)), st.lists(VALUES, min_size=1, max_size=4), st.booleans())
def test_fast_and_slow_path_agree(
    name: str,
    values: list[Any],
    named: bool,  # noqa: FBT001  # hypothesis passes by position
) -> None:
    """Both ways give the same tensors or the same refusal."""
    try:
        rows = batch([{name: value} for value in values] if named else values)
    except TypeError:
        return  # an integer that orjson cannot write
    quick = encoder(name).fast(rows)
    if quick is not None:
        assert_same(quick, encoder(name).slow(rows))


PIECES = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"pair"',
    '"free"',
    "1",
    "2.5",
    "-0",
    " ",
    "true",
    "NaN",
    "7",
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join)


@given(
    st.sampled_from(["pair", "free", "float", "large", "flag", "column", "steps"]),
    st.lists(TEXTS, min_size=1, max_size=3),
)
@example("pair", ["[1.0, 2.0],[3.0,4.0]", "[[5.0,6.0]", "[7.0,8.0]]"])
@example("pair", ["[1,2],[3,4]", "[5", "6]"])
@example("pair", ["[1,[2]]", "[3,4]"])
@example("free", ["[[1],[2]],[[3]", "[4]]"])
@example("free", ["[[1],[2]],[[3],[4]]", "[[4]]"])
@example("free", ["[[1,2],[3]]", "[[1],[2,3]]"])
@example("float", ["1,2", "3"])
@example("float", ['{"float": 1, "float": 2}', '{"float": 3}'])
@example("large", ["[]", "[]"])
@example("pair", ["[1,2]", "", "[3,4]"])
@example("column", ["1", "[2]"])
@example("column", ["[1]", "2"])
@example("column", ["1],[2", "3"])
@example("steps", ["[1,2]", "[[3],[4]]"])
@example("steps", ["[[1],2]", "[[3],[4]]"])
@example("large", ["[1,2]", "[3]", "[4,5]"])
@example("large", ["[1,2]", "[3.5]", "[4,5]"])
@example("steps", ["[1,2]", "[[3]]"])
@example("free", ["[[1],[2]]", "[3]", "[[4]]"])
@example("pair", ['{"pair": [1,2]}', "", '{"pair": [3,4]}'])
@example("pair", ['{"pair": [1,2]}}', '{"pair": [3,4]'])
@example("float", ["1", " ", "2"])
def test_fast_path_reads_nothing_slow_path_refuses(name: str, lines: list[str]) -> None:
    """No text is read quickly that is not read carefully."""
    rows = text_batch(*lines)
    quick = encoder(name).fast(rows)
    if quick is not None:
        assert_same(quick, encoder(name).slow(rows))


@given(st.sampled_from(sorted(SPECS)), st.lists(st.integers(-100, 100), min_size=1, max_size=4))
def test_regular_rows_take_the_quick_way(name: str, numbers: list[int]) -> None:
    makers: dict[str, Callable[[int], object]] = {
        "pair": lambda n: [n, n + 0.5],
        "free": lambda n: [[n]],
        "small": lambda n: n,
        "large": lambda n: [n, 2**40 * n],
        "unsigned": abs,
        "flag": lambda n: n > 0,
        "text": str,
        "float": lambda n: n / 3,
        "column": lambda n: n / 3,
        "small_column": lambda n: [n],
        "flag_column": lambda n: n > 0,
        "text_column": str,
        "steps": lambda n: [n, n],
    }
    rows = batch([{name: makers[name](n)} for n in numbers])
    assert encoder(name).fast(rows) is not None


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("large", ["[1,2]", "[3]", "[4,5]", "[6]"]),
        ("large", ['{"large": [1]}', '{"large": [2,3]}']),
        ("steps", ["[1,2]", "[[3]]", "[4,5]"]),
        ("free", ["1", "[2,3]", "[[4]]"]),
    ],
)
def test_rows_of_different_lengths_take_the_fast_path(name: str, lines: list[str]) -> None:
    rows = text_batch(*lines)
    quick = encoder(name).fast(rows)
    assert quick is not None
    assert len(quick) > 1
    assert_same(quick, encoder(name).slow(rows))


@pytest.mark.parametrize("odd", ["", " ", "NaN"])
def test_large_integers_round_alike_beside_anything(odd: str) -> None:
    """Large integers become the same floats whatever lies beside them."""
    number = "1152921573326323713"
    alone = tensors_of(encoder("float").encode(text_batch(number)))["float"]
    beside = tensors_of(encoder("float").encode(text_batch(number, odd)))["float"]
    assert alone[0] == beside[0] == np.float32(float(number))


def test_a_surrogate_beside_a_bare_token_is_a_bad_row() -> None:
    rows = text_batch(r'{"text": "\ud800", "float": NaN}')
    with pytest.raises(InvalidInstance, match="an unpaired surrogate"):
        encoder("text", "float").encode(rows)


@pytest.mark.parametrize("beside", [[], [""], ["[NaN"]])
def test_nesting_has_one_limit_on_every_way(beside: list[str]) -> None:
    deep = "[" * 33 + "1" + "]" * 33
    with pytest.raises(InvalidInstance, match="line 1.*nested more than 32 deep"):
        encoder("free").encode(text_batch(deep, *beside))


def test_two_rows_json_only_together_are_refused() -> None:
    """Two rows that only together are JSON are refused."""
    rows = text_batch("[1.0, 2.0],[3.0,4.0]", "[[5.0,6.0]", "[7.0,8.0]]")
    with pytest.raises(InvalidInstance, match="line 1"):
        encoder("pair").encode(rows)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("pair", ["[1,2.5]", "[3,4]"]),
        ("pair", ['{"pair": [1,2.5]}', '{"pair": [3,4]}']),
        ("free", ["[[1],[2]]", "[[3],[4]]"]),
        ("float", ["1", "2.5"]),
        ("large", ["[9007199254740993]", "[-1]"]),
        ("column", ["1", "2.5"]),
        ("column", ["[1]", "[2.5]"]),
        ("column", ['{"column": 1}', '{"column": 2.5}']),
        ("steps", ["[1, 2]", "[3, 4]"]),
    ],
)
def test_regular_numbers_are_read_as_one_buffer(name: str, lines: list[str]) -> None:
    reader = NumberRowReader(name, SPECS[name])
    tensor = reader.read(text_batch(*lines))
    assert tensor is not None
    slow = tensors_of(encoder(name).slow(text_batch(*lines)))
    np.testing.assert_array_equal(tensor, slow[name])


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("column", [1, [2.5]], [[1], [2.5]]),
        ("column", [1, 2.5], [[1], [2.5]]),
        ("small_column", [[3], [4]], [[3], [4]]),
        ("flag_column", [True, False], [[True], [False]]),
        ("text_column", ["a", ["b"], {"b64": "Yw=="}], [[b"a"], [b"b"], [b"c"]]),
        ("text_column", [["a"], ["b"]], [[b"a"], [b"b"]]),
        ("steps", [[1, 2], [[3], 4]], [[[1], [2]], [[3], [4]]]),
    ],
)
def test_a_missing_last_dimension_of_one_is_added(
    name: str, rows: list[Any], expected: list[Any]
) -> None:
    for lines in (batch(rows), batch([{name: row} for row in rows])):
        tensor = tensors_of(encoder(name).encode(lines))[name]
        assert tensor.tolist() == expected
        assert tensor.dtype == SPECS[name].dtype


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("column", None, "expected a number"),
        ("column", [1, 2], r"expected the shape \[1\], found \[2\]"),
        ("column", [[1]], "expected a number"),
        ("steps", 1, "expected a list, found 1"),
        ("pair", 1, "expected a list, found 1"),
        ("large", 1, "expected a list, found 1"),
    ],
)
def test_no_other_dimension_is_guessed(name: str, row: object, message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        encoder(name).encode(batch([row]))


BIGQUERY: dict[str, list[Any]] = {
    "large": [["1", "-2"], ["9007199254740993", "0"]],
    "float": ["4", "-16777217"],
}


def with_integer_strings(*names: str) -> InstanceEncoder:
    inputs = {name: SPECS[name] for name in sorted(names)}
    return InstanceEncoder(Signature("s", "", inputs, {}), raising("file"), integer_strings=True)


@pytest.mark.parametrize("name", sorted(BIGQUERY))
def test_integer_strings_are_taken_where_asked(name: str) -> None:
    """Whole numbers in strings are taken where asked for."""
    rows = BIGQUERY[name]
    lines = batch([{name: row} for row in rows])
    expected = np.array(rows, np.int64).astype(SPECS[name].dtype)
    for read in (with_integer_strings(name).encode, with_integer_strings(name).slow):
        tensors = tensors_of(read(lines))
        np.testing.assert_array_equal(tensors[name], expected)
        assert tensors[name].dtype == expected.dtype
    with pytest.raises(
        InvalidInstance, match=r"BigQuery writes INT64 so, and integer_strings=true"
    ):
        encoder(name).encode(lines)


@pytest.mark.parametrize("text", ["4.0", " 4", "4 ", "", "0x4", "\u0661", "1e3", "+4", "04"])
@pytest.mark.parametrize("name", ["unsigned", "float"])
def test_other_strings_are_no_numbers(name: str, text: str) -> None:
    with pytest.raises(InvalidInstance, match="expected a"):
        with_integer_strings(name).encode(batch([text]))


def test_strings_are_text_for_inputs_of_text_also_then() -> None:
    tensors = tensors_of(with_integer_strings("text").encode(batch(["4"])))
    assert tensors["text"].tolist() == [b"4"]


def test_a_bad_row_of_many_inputs_lists_a_few_names() -> None:
    inputs = {f"input_{number:04}": SPECS["float"] for number in range(2000)}
    many = InstanceEncoder(Signature("s", "", inputs, {}), raising("file"))
    for row in ([1], {"input_0000": 1}, dict.fromkeys(inputs, 1) | {"other": 1}):
        with pytest.raises(InvalidInstance) as raised:
            many.encode(batch([row]))
        assert len(raised.value.message) < 1000
