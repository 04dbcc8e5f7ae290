"""The parameters of a job: names and values from outside become a frozen JobSpec."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import BadParameter
from app.storage.location import Location, parse_location

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job. `timeout_seconds` and `batch_size` are None where the instance decides."""

    model: Location
    input: Location
    output: Location
    signature_name: str = DEFAULT_SIGNATURE
    batch_size: int | None = None
    on_error: Literal["fail", "skip"] = "fail"
    force: bool = False
    timeout_seconds: float | None = None


# Names that are agreed and do nothing yet: refused by name rather than ignored.
NOT_YET_SUPPORTED = frozenset(
    {
        "key_field",
        "include_instance",
        "included_fields",
        "excluded_fields",
        "input_format",
        "output_format",
        "output_compression",
        "warm_up_data_path",
        "warm_up_count",
    }
)
_WHOLE_NUMBER = re.compile("[0-9]{1,18}")
REQUIRED = ("model", "input", "output")
OPTIONAL = ("signature_name", "batch_size", "on_error", "force", "timeout_seconds")


def parse_job_spec(parameters: Mapping[str, Any], *, relative_paths: bool = False) -> JobSpec:
    """From names to values as a query string (all text) or a JSON body (typed) gives them.

    `relative_paths` are taken only where the caller knows what they are relative to.
    Raises BadParameter, naming the parameter, what was expected and what was there.
    """
    _refuse_unknown(parameters)
    missing = [name for name in REQUIRED if parameters.get(name) in (None, "")]
    if missing:
        raise BadParameter(
            f"missing parameter: {', '.join(missing)}", {"parameters": list(missing)}
        )
    model, input_, output = (
        parse_location(_text(parameters, name), parameter=name, relative=relative_paths)
        for name in REQUIRED
    )
    _refuse_wildcards(input_)
    return JobSpec(
        model=model.as_folder(),
        input=input_,
        output=output.as_folder(),
        signature_name=_text(parameters, "signature_name") or DEFAULT_SIGNATURE,
        batch_size=_batch_size(parameters),
        on_error=_on_error(parameters),
        force=_force(parameters),
        timeout_seconds=_timeout_seconds(parameters),
    )


def _refuse_unknown(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if name in NOT_YET_SUPPORTED:
            raise BadParameter(f"parameter {name} is not supported yet", {"parameters": [name]})
        if name not in REQUIRED and name not in OPTIONAL:
            raise BadParameter(
                f"unknown parameter {name!r}; known are {', '.join(REQUIRED + OPTIONAL)}",
                {"parameters": [name]},
            )


def _refuse_wildcards(location: Location) -> None:
    if "*" in location.path or "?" in location.path:
        raise BadParameter(
            f"input: wildcards are not supported yet: {location}; end it with / for all below it",
            {"parameters": ["input"]},
        )


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed(name, "a string", value)
    return value


def _batch_size(parameters: Mapping[str, Any]) -> int | None:
    value = parameters.get("batch_size")
    if value is None or value == "":
        return None
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _malformed("batch_size", "a whole number of rows above 0", value)
    return value


def _on_error(parameters: Mapping[str, Any]) -> Literal["fail", "skip"]:
    match parameters.get("on_error"):
        case None | "" | "fail":
            return "fail"
        case "skip":
            return "skip"
        case value:
            raise _malformed("on_error", "fail or skip", value)


def _force(parameters: Mapping[str, Any]) -> bool:
    match parameters.get("force"):
        case None | "" | "false" | False:
            return False
        case "true" | True:
            return True
        case value:
            raise _malformed("force", "true or false", value)


def _timeout_seconds(parameters: Mapping[str, Any]) -> float | None:
    value = parameters.get("timeout_seconds")
    if value is None or value == "":
        return None
    seconds = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _malformed("timeout_seconds", "a number of seconds above 0", value)
    return seconds


def _malformed(name: str, expected: str, value: Any) -> BadParameter:
    return BadParameter(
        f"parameter {name} must be {expected}, it is {str(value)[:100]!r}",
        {"parameters": [name]},
    )
