"""Parses JSON texts, strictly except for the tokens that TF Serving accepts.

TF Serving's REST API reads the bare tokens NaN, Infinity and Inf, each with or without a minus,
which JSON does not have. Source: tensorflow_serving/util/json_tensor.cc (kParseNanAndInfFlag).
"""

import json
import math
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson

# An unclosed string extends to the end. Searching it again for tokens would take quadratic time.
_STRING_OR_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|-?\b(?:NaN|Inf(?:inity)?)\b', re.DOTALL
)
# Custom number parsers take ten times as long, so they are used only for such texts.
_MAY_BE_BEYOND_64_BITS = re.compile(r"[0-9]{18}|[eE]\+?[0-9]{3}")
# orjson rejects lone surrogates, which have no UTF-8 form. The json module accepts them.
_MAY_BE_A_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STANDARD_TOKENS = {"-NaN": "NaN", "Inf": "Infinity", "-Inf": "-Infinity"}
_SHOWN_CHARACTERS = 80
_SHOWN_NAMES = 20


class InvalidJson(ValueError):
    """A text that is not JSON; the message says why and where."""


def parse_json(text: bytes) -> Any:
    """Parse one value. Integers beyond 64 bits become floats. Raises InvalidJson."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if may_hold_tokens(text):
            return _parse_with_tokens(text)
        raise InvalidJson(f"invalid JSON at character {error.pos + 1}: {error.msg}") from None


def with_tokens_as_strings(text: bytes, mark: str = "") -> bytes:
    """Replace bare tokens by strings that begin with `mark`, which makes the text valid JSON."""
    return _STRING_OR_TOKEN.sub(
        lambda match: (
            match[0]
            if match[0].startswith('"')
            else f'"{mark}{_STANDARD_TOKENS.get(match[0], match[0])}"'
        ),
        text.decode(),
    ).encode()


def may_hold_tokens(text: bytes) -> bool:
    """Whether the text may contain the tokens NaN, Infinity or Inf."""
    return b"NaN" in text or b"Inf" in text


def quoted(value: Any) -> str:
    """Format a value for an error message: JSON, shortened."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "a deeply nested value"
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"


def quoted_names(names: Iterable[str]) -> str:
    """Format names for an error message: a few, shortened, quoted where needed."""
    texts = list(islice((_shown_name(name) for name in names), _SHOWN_NAMES + 1))
    more = ", ..." if len(texts) > _SHOWN_NAMES else ""
    return ", ".join(texts[:_SHOWN_NAMES]) + more if texts else "none"


def _shown_name(name: str) -> str:
    text = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    if text and text.isprintable() and not any(mark in text for mark in ' ,"'):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _parse_with_tokens(text: bytes) -> Any:
    """Parse with the json module, which accepts NaN and Infinity, else as strictly as orjson."""
    try:
        standard = _STRING_OR_TOKEN.sub(
            lambda match: _STANDARD_TOKENS.get(match[0], match[0]), text.decode()
        )
        if _MAY_BE_BEYOND_64_BITS.search(standard):
            value = json.loads(standard, parse_float=_finite, parse_int=_integer)
        else:
            value = json.loads(standard)
        if _MAY_BE_A_SURROGATE.search(standard):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise InvalidJson(f"invalid JSON at character {error.pos + 1}: {error.msg}") from None
    except UnicodeEncodeError:
        raise InvalidJson("invalid JSON: an unpaired surrogate") from None
    except (InvalidJson, UnicodeDecodeError) as error:
        raise InvalidJson(f"invalid JSON: {error}") from None
    except RecursionError:
        raise InvalidJson("invalid JSON: nested too deeply") from None


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidJson(f"the number {digits[:40]} is beyond what a double holds")
    return value


def _integer(digits: str) -> int | float:
    if len(digits) > len("-9223372036854775808") or not -(2**63) <= int(digits) < 2**64:
        return _finite(digits)
    return int(digits)
