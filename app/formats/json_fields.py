"""Splits the fields of a JSON instance into those for the model and those for the output.

Values are copied as text, so a key keeps every digit and escape.
"""

import secrets
from dataclasses import dataclass

import msgspec
import orjson

from app.codec.json_values import (
    InvalidJson,
    may_hold_tokens,
    parse_json,
    quoted,
    quoted_names,
    with_tokens_as_strings,
)
from app.codec.slow_path import Misfit
from app.config.job_spec import InstanceFields

# Distinguishes replaced tokens from strings of the input.
_MARK = secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class SplitInstance:
    """`seen` is the instance for the model; `passthrough` are the values beside its prediction."""

    seen: bytes
    passthrough: tuple[bytes, ...]


class JsonFields:
    """Splits instances by InstanceFields."""

    def __init__(self, fields: InstanceFields) -> None:
        self._fields = fields
        self._sees = fields.sees()
        self._decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def split(self, line: bytes) -> SplitInstance:
        """Raises InvalidJson, and Misfit where the line is no object or has no key."""
        seen, passthrough = line, []
        if self._fields.selects:
            values = self._values(line)
            if self._fields.key is not None:
                passthrough.append(_checked_key(self._fields.key, values))
            members = [
                orjson.dumps(name) + b":" + value
                for name, value in values.items()
                if self._sees(name)
            ]
            seen = b"{" + b",".join(members) + b"}"
        if self._fields.include_instance:
            passthrough.append(strict_json(line))
        return SplitInstance(seen, tuple(passthrough))

    def key(self, line: bytes) -> bytes | None:
        """The key of an invalid row, or None."""
        if self._fields.key is None:
            return None
        try:
            return _checked_key(self._fields.key, self._values(line))
        except (InvalidJson, Misfit):
            return None

    def _values(self, line: bytes) -> dict[str, bytes]:
        """The text of each field."""
        try:
            return {name: bytes(raw) for name, raw in self._decoder.decode(line).items()}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            value = parse_json(line)
            if not isinstance(value, dict):
                raise Misfit(f"expected an object with fields, found {quoted(value)}") from None
            if not may_hold_tokens(line):
                raise InvalidJson(f"invalid JSON: {error}") from None
            return self._values_beside_tokens(line)

    def _values_beside_tokens(self, line: bytes) -> dict[str, bytes]:
        marked = with_tokens_as_strings(line, _MARK)
        try:
            return {name: _unmarked(raw) for name, raw in self._decoder.decode(marked).items()}
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidJson(f"invalid JSON: {error}") from None


def strict_json(line: bytes) -> bytes:
    """Return the instance as standard JSON. Raises InvalidJson."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        parse_json(line)
        return with_tokens_as_strings(line.strip())
    return line.strip()


def _unmarked(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    for token in (b"NaN", b"Infinity", b"-Infinity"):
        text = text.replace(b'"' + _MARK.encode() + token + b'"', token)
    return text


def _checked_key(name: str, values: dict[str, bytes]) -> bytes:
    text = values.get(name)
    if text is None:
        raise Misfit(f"missing, and it is the key field; found {quoted_names(values)}", field=name)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Misfit(f"the key is no valid JSON: {error.msg}", field=name) from None
    return text
