"""What every call of a Google API may carry: system parameters, and masks of fields.

Source: cloud.google.com/apis/docs/system-parameters; protobuf.dev, FieldMask.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidArgument, shortened

_ALT = ("$alt", "alt")
_PRETTY = ("$prettyPrint", "prettyPrint")
_FIELDS = ("$fields", "fields")
# They are for Google's front ends, which check them before a service sees the call.
_IGNORED = (
    "$.xgafv",
    "$key",
    "$quotaUser",
    "$userProject",
    "access_token",
    "key",
    "oauth_token",
    "quotaUser",
    "userProject",
)
_JSON = re.compile("json(?:;enum-encoding=(?P<enums>int))?")
# A path of a mask, or one of the signs of the `fields` parameter.
_TOKEN = re.compile(r"[A-Za-z0-9_*]+|[(),./]")

_LONGEST_MASK = 4000
_MOST_GROUPS = 50

# The fields to keep of a message; an empty mask keeps all.
_Mask = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How to answer: enums as integers, indented or not, and which fields."""

    integer_enums: bool
    pretty: bool
    fields: str

    def masked(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with the fields that `$fields` asks for."""
        return masked(body, self.fields) if self.fields else body


def take_call_options(parameters: dict[str, Any]) -> CallOptions:
    """Take the system parameters out of `parameters`. Raises InvalidArgument."""
    alt = str(_take(parameters, _ALT) or "json")
    match = _JSON.fullmatch(alt)
    if match is None:
        raise InvalidArgument(
            f"alt must be json or json;enum-encoding=int, it is {shortened(alt)!r}",
            {"parameters": ["alt"]},
        )
    for name in _IGNORED:
        parameters.pop(name, None)
    return CallOptions(
        integer_enums=match["enums"] is not None,
        pretty=str(_take(parameters, _PRETTY) or "true").lower() not in ("false", "0"),
        fields=str(_take(parameters, _FIELDS) or ""),
    )


def masked(body: dict[str, Any], mask: str) -> dict[str, Any]:
    """The fields of a message that a mask names: `name,outputInfo.gcsOutputDirectory`.

    `fields` also groups with parentheses: `batchPredictionJobs(name,state),nextPageToken`. Names
    may have underscores. Raises InvalidArgument.
    """
    if len(mask) > _LONGEST_MASK or mask.count("(") > _MOST_GROUPS:
        raise _malformed(mask)
    tokens = _TOKEN.findall(mask)
    if "".join(tokens) != re.sub(r"\s", "", mask):
        raise _malformed(mask)
    tree, rest = _parse_group(tokens, mask)
    if rest:
        raise _malformed(mask)
    kept = _keep(body, tree)
    assert isinstance(kept, dict)
    return kept


def _parse_group(tokens: list[str], mask: str) -> tuple[_Mask, list[str]]:
    """Parse paths up to a closing parenthesis or the end; return them, and the rest."""
    tree: _Mask = {}
    while True:
        if not tokens or not re.fullmatch(r"[A-Za-z0-9_*]+", tokens[0]):
            raise _malformed(mask)
        below = tree.setdefault(_camel_case(tokens[0]), {})
        tokens = tokens[1:]
        while tokens and tokens[0] in "./" and len(tokens) > 1:
            below = below.setdefault(_camel_case(tokens[1]), {})
            tokens = tokens[2:]
        if tokens and tokens[0] == "(":
            group, tokens = _parse_group(tokens[1:], mask)
            if not tokens or tokens[0] != ")":
                raise _malformed(mask)
            below.update(group)
            tokens = tokens[1:]
        if not tokens or tokens[0] != ",":
            return tree, tokens
        tokens = tokens[1:]


def _keep(value: Any, tree: _Mask) -> Any:
    if not tree or "*" in tree:
        return value
    if isinstance(value, list):
        return [_keep(one, tree) for one in value]
    if not isinstance(value, Mapping):
        return value
    return {name: _keep(value[name], tree[name]) for name in value if name in tree}


def _camel_case(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _take(parameters: dict[str, Any], names: tuple[str, ...]) -> Any:
    values = [parameters.pop(name) for name in names if name in parameters]
    return values[0] if values else None


def _malformed(mask: str) -> InvalidArgument:
    return InvalidArgument(
        f"a mask must be names of fields, as in name,state, it is {shortened(mask)!r}",
        {"parameters": ["fields"]},
    )
