import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.codec.predictions import encode_predictions
from app.errors import InvalidModel
from tfserving_launcher.tensors import Array


def lines(outputs: dict[str, np.ndarray]) -> list[str]:
    rows = len(next(iter(outputs.values())))
    text = encode_predictions(outputs, rows, rows_sent=rows).decode()
    assert text.endswith("\n") or not rows
    return text.split("\n")[:-1]


def strings(*values: object) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_one_output_is_a_bare_value_a_line() -> None:
    assert lines({"y": np.array([1.5, 2.0])}) == ["1.5", "2.0"]
    assert lines({"y": np.array([[1, 2], [3, 4]])}) == ["[1,2]", "[3,4]"]
    assert lines({"y": np.array([[[1], [2]], [[3], [4]]])}) == ["[[1],[2]]", "[[3],[4]]"]


def test_several_outputs_are_an_object_sorted_by_name() -> None:
    outputs = {"b%s": np.array([1, 2]), 'a"': np.array([[True], [False]])}
    assert lines(outputs) == ['{"a\\"":[true],"b%s":1}', '{"a\\"":[false],"b%s":2}']


def test_float32_prints_its_shortest_form() -> None:
    assert lines({"y": np.array([0.1, 1e20, 16777216], np.float32)}) == [
        "0.1",
        "1e+20",
        "16777216.0",
    ]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_smaller_floats_print_their_exact_value(dtype: type) -> None:
    assert lines({"y": np.array([0.5, -1.5], dtype)}) == ["0.5", "-1.5"]


def test_integers_print_every_digit() -> None:
    assert lines({"y": np.array([2**63 - 1, -(2**63)])}) == [
        "9223372036854775807",
        "-9223372036854775808",
    ]
    assert lines({"y": np.array([2**64 - 1], np.uint64)}) == ["18446744073709551615"]
    assert lines({"y": np.array([-8, 7], ml_dtypes.int4)}) == ["-8", "7"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinities_have_names(dtype: type) -> None:
    array: Array = np.array([[np.nan, 1], [np.inf, -np.inf]], dtype)
    assert lines({"y": array}) == ['["NaN",1.0]', '["Infinity","-Infinity"]']


def test_strings_are_escaped_and_stay_text() -> None:
    assert lines({"y": strings(b'a","b', "é\n".encode(), b"")}) == ['"a\\",\\"b"', '"é\\n"', '""']


def test_nested_strings_keep_their_shape() -> None:
    assert lines({"y": strings(b"a", b"b", b"c", b"d").reshape(2, 2)}) == ['["a","b"]', '["c","d"]']


def test_bytes_outputs_are_base64() -> None:
    assert lines({"y_bytes": strings(b"\xff\x00")}) == ['{"b64":"/wA="}']
    assert lines({"y_bytes": strings(b"a", b"b").reshape(1, 2)}) == [
        '[{"b64":"YQ=="},{"b64":"Yg=="}]'
    ]


def test_not_utf8_is_an_error_about_bytes() -> None:
    """Text that is not UTF-8 is an error that tells of bytes."""
    with pytest.raises(InvalidModel, match=r"output y is not UTF-8.*export it as y_bytes"):
        lines({"y": strings(b"fine", b"\xff")})


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3), (2, 3, 0)])
def test_rows_without_values_keep_their_shape(shape: tuple[int, ...]) -> None:
    assert [json.loads(line) for line in lines({"y": np.zeros(shape)})] == np.zeros(shape).tolist()


@pytest.mark.parametrize("array", [np.array(1.0), np.zeros(3), np.zeros((1, 2))])
def test_wrong_row_count_names_the_output(array: np.ndarray) -> None:
    """Another number of rows is an error that names the output."""
    with pytest.raises(InvalidModel, match="output y has the shape .* for 2 rows"):
        encode_predictions({"y": array}, 2, rows_sent=2)


def test_rows_that_were_padding_are_dropped() -> None:
    assert encode_predictions({"y": np.array([1, 2, 2, 2])}, 2, rows_sent=4) == b"1\n2\n"


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=4),
    )
)
def test_every_array_is_read_back_as_it_was(array: np.ndarray) -> None:
    names = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    rows = [json.loads(line) for line in lines({"y": array})]
    flat = [names.get(v, v) if isinstance(v, str) else v for v in np.array(rows, object).ravel()]
    back = np.array(flat, array.dtype).reshape(array.shape)
    np.testing.assert_array_equal(back, array)
