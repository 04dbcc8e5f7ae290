"""Which rows a model fails on, whatever it is that it fails on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving.bisection import predict_bisected
from app.serving.supervised_server import PoisonBatch, Tensors
from tfserving_launcher import PredictError

REFUSAL = PredictError("INVALID_ARGUMENT", "a bad one")


class Model:
    """Doubles its rows; fails on batches with `bad` rows, and on any of more than `most` rows."""

    def __init__(self, bad: set[int], most: int = 1000) -> None:
        self.bad = bad
        self.most = most
        self.sizes: list[int] = []

    def predict(self, tensors: Tensors) -> Tensors:
        rows = tensors["x"]
        self.sizes.append(len(rows))
        if len(rows) > self.most or not self.bad.isdisjoint(rows.tolist()):
            raise REFUSAL
        return {"y": rows * 2, "z": np.stack([rows, rows], axis=1)}


def rows_of(count: int) -> Tensors:
    return {"x": np.arange(count), "other": np.arange(count) * 10}


@given(st.integers(1, 70), st.sets(st.integers(0, 69)))
def test_failing_rows_are_bisected_in_order(count: int, bad: set[int]) -> None:
    """The rows that fail are found and the others are answered in order."""
    bad = {row for row in bad if row < count} or {0}
    model = Model(bad)
    outputs, refused = predict_bisected(rows_of(count), REFUSAL, model.predict, first_only=False)
    assert [part.rows for part in refused] == [range(row, row + 1) for row in sorted(bad)]
    assert all("a bad one" in part.reason for part in refused)
    good = [row for row in range(count) if row not in bad]
    if not good:
        assert outputs == {}
        return
    assert outputs["y"].tolist() == [2 * row for row in good]
    assert outputs["z"].tolist() == [[row, row] for row in good]
    # The answer that counts is that of a batch as large as the first one.
    assert model.sizes[-1] == count


@given(st.integers(2, 70), st.sets(st.integers(0, 69), min_size=1))
def test_nothing_after_first_failure_is_tried(count: int, bad: set[int]) -> None:
    """Where the first one is enough nothing after it is tried."""
    bad = {row for row in bad if row < count} or {count - 1}
    model = Model(bad)
    outputs, refused = predict_bisected(rows_of(count), REFUSAL, model.predict, first_only=True)
    assert outputs == {}
    assert [part.rows.start for part in refused] == [min(bad)]
    assert len(model.sizes) <= 2 * count.bit_length() + 2


def test_a_batch_that_is_only_too_large_loses_no_row() -> None:
    model = Model(set(), most=10)
    outputs, refused = predict_bisected(rows_of(37), REFUSAL, model.predict, first_only=False)
    assert refused == []
    assert outputs["y"].tolist() == [2 * row for row in range(37)]


@pytest.mark.parametrize("first_only", [True, False])
def test_a_batch_that_kills_servers_is_not_cut_up(first_only: bool) -> None:  # noqa: FBT001  # pytest passes by name
    model = Model(set())
    outputs, refused = predict_bisected(
        rows_of(8), PoisonBatch("killed"), model.predict, first_only=first_only
    )
    assert (outputs, model.sizes) == ({}, [])
    assert [part.rows for part in refused] == [range(8)]
