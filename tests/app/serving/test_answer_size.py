"""How many rows a batch has, by what its answer weighs."""

import numpy as np
import pytest

from app.serving.answer_size import MOST_WAITING_BYTES, AnswerSize, answer_bytes
from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import string_array

MEBIBYTE = 1024 * 1024
LARGEST = 16 * MEBIBYTE


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape)


@pytest.mark.parametrize(
    ("outputs", "rows"),
    [
        ({"y": spec("float32", None, 65_536)}, 8),
        ({"y": spec("float64", None, 65_536)}, 4),
        ({"y": spec("uint8", None, 256, 256)}, 7),
        ({"y": spec("float32", None, 1_000_000, 0)}, 1),
        ({"y": spec("float32", None, 100, 100, 1, 1, 1)}, 16),
        ({"a": spec("float32", None, 32_768), "b": spec("int32", None, 32_768)}, 8),
        ({"y": spec("float32", None, 1_000_000)}, 1),
        ({"y": spec("float32", None)}, 524_288),
        ({"y": spec("float32", None, 0)}, 2 * MEBIBYTE),
    ],
)
def test_shapes_of_the_signature_bound_the_rows(outputs: dict[str, TensorSpec], rows: int) -> None:
    size = AnswerSize(outputs, LARGEST)
    assert size.rows() == rows
    # Neither an answer nor an error changes what the signature says.
    size.answered({name: np.zeros((1, 1), np.float32) for name in outputs}, 1)
    size.was_too_large(1)
    size.failed(100)
    assert size.rows() == rows


@pytest.mark.parametrize(
    "output",
    [spec("float32", None, None), TensorSpec(np.dtype(np.float32), None), spec("object", None)],
)
def test_open_shapes_start_with_two_rows(output: TensorSpec) -> None:
    """Open shapes begin with two rows and grow by what came."""
    size = AnswerSize({"y": output}, LARGEST)
    assert (size.rows(), size.of_rows(2)) == (2, MOST_WAITING_BYTES)
    for rows in (2, 8, 32):
        assert size.rows() == rows
        size.answered({"y": np.zeros((rows, 10), np.float32)}, rows)
    assert size.of_rows(100) == 100 * 40


def test_long_answers_shrink_batches_for_a_while() -> None:
    """Long answers make batches small at once and not for ever."""
    size = AnswerSize({"y": spec("float32", None, None)}, LARGEST)
    size.answered({"y": np.zeros((2, 250_000), np.float32)}, 2)
    assert size.rows() == 2
    for _ in range(20):
        size.answered({"y": np.zeros((2, 1), np.float32)}, 2)
    assert size.rows() == 8


def test_an_answer_without_room_makes_batches_smaller() -> None:
    size = AnswerSize({"y": spec("float32", None, None)}, LARGEST)
    size.answered({"y": np.zeros((100, 1), np.float32)}, 100)
    assert size.rows() == 400
    size.was_too_large(400)
    assert size.rows() <= 200


def test_failing_rows_have_no_size() -> None:
    """Rows that fail have no size and let batches grow."""
    size = AnswerSize({"y": spec("float32", None, None)}, LARGEST)
    size.failed(2)
    assert size.rows() == 8


def test_small_values_weigh_what_their_json_does() -> None:
    assert answer_bytes({"y": np.zeros((3, 5), np.bool_)}) == 3 * 5 * 4
    assert answer_bytes({"y": np.zeros((3, 5), np.float64)}) == 3 * 5 * 8
    assert answer_bytes({"y": string_array([b"abc", b""])}) == 3 + 2 * 40
