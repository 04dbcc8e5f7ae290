"""Answers to groups of rows are put in the order of the rows."""

import numpy as np

from app.errors import ModelFailed
from app.serving.answer_parts import Failure, Part, in_row_order

WHY = Failure(ModelFailed, "why")


def flat(parts: list[Part]) -> list[tuple[int, object]]:
    found: list[tuple[int, object]] = []
    for part in parts:
        good = [row for row in part.rows if row not in part.failed]
        values = part.outputs["y"].tolist() if part.outputs else []
        found += [*zip(good, values, strict=True), *((row, "failed") for row in part.failed)]
    return found


def test_outputs_of_one_shape_become_one_part() -> None:
    parts = [
        Part([0, 3, 4], {"y": np.array([0, 4])}, {3: WHY}),
        Part([1, 2], {"y": np.array([1, 2])}),
        Part([5], {}, {5: WHY}),
    ]
    (whole,) = in_row_order(parts)
    assert whole.rows == [0, 1, 2, 3, 4, 5]
    assert whole.outputs["y"].tolist() == [0, 1, 2, 4]
    assert whole.failed == {3: WHY, 5: WHY}


def test_outputs_of_many_shapes_become_rows() -> None:
    parts = [
        Part([0, 2], {"y": np.array([[0], [2]])}),
        Part([1, 3], {"y": np.array([[1, 1]])}, {3: WHY}),
    ]
    assert flat(list(in_row_order(parts))) == [(0, [0]), (1, [1, 1]), (2, [2]), (3, "failed")]


def test_rows_after_the_first_failure_of_a_group_are_left_out() -> None:
    parts = [Part([0, 2, 4], {}, {2: WHY}), Part([1, 3], {"y": np.array([1, 3])})]
    assert sorted(flat(list(in_row_order(parts)))) == [(1, 1), (2, "failed"), (3, 3)]


def test_nothing_is_made_of_rows_that_all_fail() -> None:
    assert flat(list(in_row_order([Part([1], {}, {1: WHY}), Part([0], {}, {0: WHY})]))) == [
        (1, "failed"),
        (0, "failed"),
    ]
