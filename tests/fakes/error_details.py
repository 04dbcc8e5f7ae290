"""The details of errors, out of the typed messages that hold them."""

from collections.abc import Mapping
from typing import Any


def details_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The Struct in an error, which may be in the body of a response."""
    error = body.get("error", body)
    (value,) = [
        detail["value"]
        for detail in error["details"]
        if detail["@type"] == "type.googleapis.com/google.protobuf.Struct"
    ]
    assert isinstance(value, dict)
    return value
