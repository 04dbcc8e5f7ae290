"""The `filter` of a listing of Vertex AI, for the fields that its documentation names.

Source: google/cloud/aiplatform/v1/job_service.proto, ListBatchPredictionJobsRequest, and
google.aip.dev/160. Comparisons may be joined by AND, and begin with NOT.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

from app.errors import InvalidArgument, shortened
from app.jobs.record import JobRecord
from app.jobs.record_json import parse_timestamp

_AND = re.compile(r"\s+AND\s+(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")
_NOT = re.compile(r"\s*NOT\s+(?P<rest>.*)", re.DOTALL)
_COMPARISON = re.compile(
    r"\s*(?P<field>[A-Za-z_]+(?:\.[A-Za-z0-9_-]+)?)\s*(?P<operator>!=|<=|>=|=|<|>|:)\s*"
    r"(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>[^\s\"]+))\s*"
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTS: dict[str, Callable[[JobRecord], str]] = {
    "state": lambda record: record.state.value,
    "display_name": lambda record: str(record.resource.get("displayName", "")),
    "model": lambda record: str(record.resource.get("model", "")),
}
_TIMES = ("create_time", "update_time", "start_time", "end_time")


def parse_filter(text: str) -> Callable[[JobRecord], bool]:
    """The predicate that a filter stands for. Raises InvalidArgument."""
    if not text.strip():
        return lambda _: True
    tests = [_parse_comparison(part) for part in _AND.split(text)]
    return lambda record: all(test(record) for test in tests)


def _parse_comparison(text: str) -> Callable[[JobRecord], bool]:
    if (negated := _NOT.fullmatch(text)) is not None:
        test = _parse_comparison(negated["rest"])
        return lambda record: not test(record)
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise _refused(text)
    # Both spellings are known: displayName and display_name.
    field = re.sub("[A-Z]", lambda upper: f"_{upper[0].lower()}", match["field"])
    value = match["quoted"] if match["quoted"] is not None else match["bare"]
    compare = _OPERATORS.get(match["operator"])
    if match["field"].startswith("labels"):
        return _label_test(match["field"].partition(".")[2], match["operator"], value)
    if field in _TEXTS and match["operator"] in ("=", "!=", ":"):
        read, differs = _TEXTS[field], match["operator"] == "!="
        # A star stands for anything: google.aip.dev/160.
        pattern = re.compile(".*".join(map(re.escape, value.split("*"))), re.DOTALL)
        return lambda record: (pattern.fullmatch(read(record)) is None) is differs
    if compare is None:
        raise _refused(text)
    if field in _TIMES:
        try:
            when = parse_timestamp(value)
        except ValueError:
            raise _refused(text) from None
        return lambda record: (
            getattr(record, field) is not None and compare(getattr(record, field), when)
        )
    raise _refused(text)


def _label_test(name: str, symbol: str, value: str) -> Callable[[JobRecord], bool]:
    """`labels.name=value`, or `labels:name` for jobs that have the label."""
    if symbol == ":" and not name:
        return lambda record: value in record.resource.get("labels", {})
    if symbol == ":" and name and value == "*":
        return lambda record: name in record.resource.get("labels", {})
    if symbol == "=" and name:
        return lambda record: record.resource.get("labels", {}).get(name) == value
    raise _refused(f"labels.{name}{symbol}{value}")


def _refused(text: str) -> InvalidArgument:
    return InvalidArgument(
        'filter must be comparisons joined by AND, as in state="JOB_STATE_FAILED" AND'
        f' display_name="nightly" AND create_time>"2026-01-31T00:00:00Z"; of state, display_name,'
        f" model, labels.NAME and times, it has {shortened(text)!r}",
        {"parameters": ["filter"]},
    )
