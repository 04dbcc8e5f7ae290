"""What errors say to callers."""

import pytest

from app.config.job_spec import parse_job_spec
from app.errors import InvalidArgument, shortened


def test_long_texts_are_shortened_with_length() -> None:
    """Long texts are shortened and their length is told."""
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "abc... (4 characters)"


def test_no_message_and_no_detail_grows_with_its_cause() -> None:
    error = InvalidArgument("x" * 900_000, {"a": "y" * 900_000, "b": ["z" * 900_000], "c": 1})
    assert len(error.message) < 5000
    assert len(str(error)) < 5000
    assert len(str(error.details)) < 5000


@pytest.mark.parametrize(
    "parameters",
    [
        {"x" * 900_000: "1"},
        {"timeout_seconds": "9" * 900_000},
        {"timeout_seconds": ["9" * 900_000]},
        {"batch_size": "9" * 900_000},
        {"model": "gs://" + "b" * 900_000},
        {"model": "s3" * 400_000 + "://"},
        {"signature_name": ["x" * 900_000]},
        {"on_error": "x" * 900_000},
    ],
)
def test_a_parameter_is_shown_shortened(parameters: dict[str, object]) -> None:
    places = {"model": "gs://bucket/m/", "input": "gs://bucket/i", "output": "gs://bucket/o/"}
    with pytest.raises(InvalidArgument) as raised:
        parse_job_spec({**places, **parameters})
    assert len(str(raised.value.as_json())) < 2000
