import math

import pytest

from app.codec.json_values import InvalidJson, parse_json, quoted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[NaN]", [math.nan]),
        (b"[-NaN, Infinity,-Infinity]", [math.nan, math.inf, -math.inf]),
        (b"[Inf, -Inf, 1]", [math.inf, -math.inf, 1]),
        (b'{"NaN": "Inf \\" NaN", "x": NaN}', {"NaN": 'Inf " NaN', "x": math.nan}),
        (b"[NaN, 18446744073709551615, 18446744073709551616]", [math.nan, 2**64 - 1, 2.0**64]),
        (b"[NaN, 1.0]", [math.nan, 1.0]),
    ],
)
def test_the_tokens_of_tf_serving_are_read(text: bytes, value: object) -> None:
    assert repr(parse_json(text)) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        b"nan",
        b"[NaN,]",
        b"[NaN, 1e400]",
        b"[NaN, 01]",
        b"[NaNs]",
        b"[+Inf]",
        b'["NaN"',
        b"[NaN, \xff]",
        b'{"a": 1}}',
        b"[1] [2]",
        b"1, 2",
        b"",
        b"\xef\xbb\xbf1",
        b"[" * 100_000,
        b"[" * 100_000 + b"NaN" + b"]" * 100_000,
        b"[NaN, " + b"9" * 100_000 + b"]",
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson, match="invalid JSON"):
        parse_json(text)


def test_the_place_of_the_fault_is_named() -> None:
    with pytest.raises(InvalidJson, match="at character 4"):
        parse_json(b"[1 2]")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("é", '"é"'),
        ([1, 2], "a list of 2"),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 500, '"' + "x" * 79 + "... (502 characters)"),
    ],
)
def test_values_are_shown_short(value: object, text: str) -> None:
    assert quoted(value) == text
