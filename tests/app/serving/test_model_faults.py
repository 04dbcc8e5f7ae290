"""Which errors are the model's, and what is said to help."""

import pytest

from app.serving.model_faults import FailuresSoFar, remedy, rows_to_try


@pytest.mark.parametrize(
    ("words", "help_"),
    [
        ("Could not find variable dense/kernel. This could mean", "model.export(folder)"),
        ("Error while reading resource variable _x: variable was uninitialized", "model.export"),
        ("Attempting to use uninitialized value w", "model.export(folder)"),
        ("\nTable not initialized.\n\t [[{{node a}}]]", "tf.tables_initializer()"),
        ("Op type not registered 'SentencepieceOp' in binary", "tensorflow_text"),
        ("Op type not registered 'TFText>FastWordpiece' in", "tensorflow_text"),
        ("Op type not registered 'SimpleMLInferenceOpWithHandle'", "tensorflow_decision_forests"),
        ("No OpKernel was registered to support Op 'Addons>Lookup'", "tensorflow_addons"),
        ("Op type not registered 'MyOwnOp' in binary", "does not have the op MyOwnOp"),
        ("x must be positive", None),
        ("", None),
    ],
)
def test_words_that_can_only_be_about_the_model(words: str, help_: str | None) -> None:
    found = remedy(words)
    assert (found is None) == (help_ is None)
    assert help_ is None or help_ in str(found)


def test_four_rows_that_fail_alike_blame_the_model() -> None:
    failures = FailuresSoFar()
    for blamed in (False, False, False, True):
        failures.add("no")
        assert failures.blames_model is blamed


def test_more_rows_are_tried_where_bad_ones_are_skipped() -> None:
    failures = FailuresSoFar(skips_row_errors=True)
    blamed = []
    for _ in range(256):
        failures.add("no")
        blamed.append(failures.blames_model)
    assert blamed == [False] * 255 + [True]


@pytest.mark.parametrize("last", ["other words", None])
def test_a_row_that_differs_clears_the_model(last: str | None) -> None:
    """One with other words, or one with a prediction; nothing after it blames the model again."""
    failures = FailuresSoFar()
    for _ in range(3):
        failures.add("no")
    if last is None:
        failures.close()
    else:
        failures.add(last)
    for _ in range(10):
        failures.add("no")
    assert not failures.blames_model


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 100, 4096])
def test_probed_rows_are_spread_over_batch(rows: int) -> None:
    """The rows that are tried are spread over the batch."""
    places = list(rows_to_try(rows))
    assert places == sorted(set(places))
    assert len(places) == min(rows, 8)
    assert (places[0], places[-1]) == (0, rows - 1)
