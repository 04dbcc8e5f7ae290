"""Parses the parameters of a job into a frozen JobSpec."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import orjson

from app.config.field_names import field_names
from app.config.file_format import (
    COMPRESSIONS,
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    Compression,
    InputFormat,
    OutputFormat,
)
from app.config.json_depth import check_depth
from app.errors import InvalidArgument, shortened
from app.storage.location import Location, parse_location

_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFields:
    """The fields of an instance for the model, and those that are passed through.

    The model never sees the key field. `included` None means all fields except `excluded`.
    """

    key: str | None = None
    include_instance: bool = False
    included: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether the model does not see the whole instance."""
        return self.key is not None or self.included is not None or bool(self.excluded)

    def sees(self) -> Callable[[str], bool]:
        """A predicate for the names of visible fields, in constant time per name."""
        hidden = frozenset({*self.excluded, *({self.key} if self.key is not None else ())})
        included = None if self.included is None else frozenset(self.included)
        return lambda name: name not in hidden and (included is None or name in included)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The file of the requests that a model is sent ahead, and how many times."""

    path: Location
    count: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The parameters of one job. None leaves the choice to the instance, or to file names.

    `numbered_outputs` are called `prediction.results-00000-of-00003`, in order of the inputs. Other
    outputs have the names of their inputs.
    """

    model: Location
    inputs: tuple[Location, ...]
    output: Location
    signature_name: str | None = None
    batch_size: int | None = None
    on_error: Literal["fail", "skip"] = "fail"
    fields: InstanceFields = field(default_factory=InstanceFields)
    input_format: InputFormat | None = None
    output_format: OutputFormat = "jsonl"
    output_compression: Compression | None = None
    integer_strings: bool = False
    csv_header: bool | None = None
    csv_delimiter: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    output_filter: tuple[str, ...] = ()
    numbered_outputs: bool = False
    force: bool = False
    timeout_seconds: float | None = None
    warm_up: WarmUp | None = None


def spec_of_model(model: Location, signature_name: str | None = None) -> JobSpec:
    """For steps that only a model takes part in: no inputs, and an output that is never used."""
    return JobSpec(model=model, inputs=(), output=model, signature_name=signature_name)


# A tab is hard to type in URLs and shells.
_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t"}
_WHOLE_NUMBER = re.compile("[0-9]{1,18}")
REQUIRED = ("model", "input", "output")
OPTIONAL = (
    "signature_name",
    "batch_size",
    "on_error",
    "key_field",
    "include_instance",
    "included_fields",
    "excluded_fields",
    "input_format",
    "output_format",
    "output_compression",
    "integer_strings",
    "csv_header",
    "csv_delimiter",
    "constants",
    "output_filter",
    "force",
    "timeout_seconds",
    "warm_up_data_path",
    "warm_up_count",
)
# A URL may repeat these.
LISTS_OF_NAMES = ("included_fields", "excluded_fields", "output_filter")
_ONE_OF_TWO = ("included_fields", "excluded_fields")
REPEATED = ("input", *LISTS_OF_NAMES)
# None is their default, and any other value parses to itself.
_AS_THEY_ARE = (
    "signature_name",
    "batch_size",
    "input_format",
    "output_compression",
    "csv_header",
    "csv_delimiter",
    "timeout_seconds",
)


def parse_job_spec(parameters: Mapping[str, Any], *, relative_paths: bool = False) -> JobSpec:
    """Parse the parameters of a query string (all text) or of a JSON body (typed).

    `relative_paths` allows them, for the command line. Raises InvalidArgument with the parameter,
    the expected value and the actual one.
    """
    _refuse_unknown(parameters)
    missing = [name for name in REQUIRED if parameters.get(name) in (None, "")]
    if "input" not in missing and not _texts(parameters, "input"):
        missing.append("input")
    if missing:
        raise InvalidArgument(
            f"missing parameter: {', '.join(missing)}", {"parameters": list(missing)}
        )
    model, output = (
        parse_location(_text(parameters, name), parameter=name, relative=relative_paths)
        for name in ("model", "output")
    )
    return JobSpec(
        model=model.as_folder(),
        inputs=tuple(
            parse_location(uri, parameter="input", relative=relative_paths)
            for uri in _texts(parameters, "input")
        ),
        output=output.as_folder(),
        signature_name=_text(parameters, "signature_name") or None,
        batch_size=_whole_number(parameters, "batch_size", "rows"),
        on_error=_choice(parameters, "on_error", ("fail", "skip")) or "fail",
        fields=_fields(parameters),
        input_format=_choice(parameters, "input_format", INPUT_FORMATS),
        output_format=_choice(parameters, "output_format", OUTPUT_FORMATS) or "jsonl",
        output_compression=_choice(parameters, "output_compression", COMPRESSIONS),
        integer_strings=_flag(parameters, "integer_strings"),
        csv_header=_optional_flag(parameters, "csv_header"),
        csv_delimiter=_csv_delimiter(parameters),
        constants=_constants(parameters),
        output_filter=_field_names(parameters, "output_filter"),
        force=_flag(parameters, "force"),
        timeout_seconds=_timeout_seconds(parameters),
        warm_up=_warm_up(parameters, relative_paths=relative_paths),
    )


def _refuse_unknown(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if name not in REQUIRED and name not in OPTIONAL:
            raise InvalidArgument(
                f"unknown parameter {shortened(name)!r}; known are"
                f" {', '.join(REQUIRED + OPTIONAL)}",
                {"parameters": [shortened(name)]},
            )


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed(name, "a string", value)
    return value


def _whole_number(parameters: Mapping[str, Any], name: str, of_what: str) -> int | None:
    value = parameters.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _malformed(name, f"a whole number of {of_what} above 0", value)
    return value


def _warm_up(parameters: Mapping[str, Any], *, relative_paths: bool) -> WarmUp | None:
    path = _text(parameters, "warm_up_data_path")
    count = _whole_number(parameters, "warm_up_count", "times")
    if not path:
        if count is not None:
            raise InvalidArgument(
                "parameter warm_up_count says how often the requests of warm_up_data_path are sent,"
                " which is missing",
                {"parameters": ["warm_up_data_path", "warm_up_count"]},
            )
        return None
    location = parse_location(path, parameter="warm_up_data_path", relative=relative_paths)
    return WarmUp(location) if count is None else WarmUp(location, count)


def _texts(parameters: Mapping[str, Any], name: str) -> list[str]:
    value = parameters[name]
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _malformed(name, "a string or a list of strings", value)
    return [text for text in value if text]


def _fields(parameters: Mapping[str, Any]) -> InstanceFields:
    included, excluded = (_field_names(parameters, name) for name in _ONE_OF_TWO)
    if included and excluded:
        raise InvalidArgument(
            "parameters included_fields and excluded_fields: one of them says it all, both are"
            " given",
            {"parameters": list(_ONE_OF_TWO)},
        )
    return InstanceFields(
        key=_text(parameters, "key_field") or None,
        include_instance=_flag(parameters, "include_instance"),
        included=included or None,
        excluded=excluded,
    )


def _field_names(parameters: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Parse names from a csv row or from a list. In a list, the empty name is possible."""
    value = parameters.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(field_names([value], name))
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _malformed(name, "a string or a list of strings", value)
    return tuple(value)


def _choice(
    parameters: Mapping[str, Any], name: str, choices: tuple[_Choice, ...]
) -> _Choice | None:
    value = parameters.get(name)
    if value is None or value == "":
        return None
    for choice in choices:
        if choice == value:
            return choice
    raise _malformed(name, f"{', '.join(choices[:-1])} or {choices[-1]}", value)


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    return _optional_flag(parameters, name) or False


def _optional_flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    match parameters.get(name):
        case None | "":
            return None
        case "false" | False:
            return False
        case "true" | True:
            return True
        case value:
            raise _malformed(name, "true or false", value)


def _csv_delimiter(parameters: Mapping[str, Any]) -> str | None:
    text = _text(parameters, "csv_delimiter")
    if not text:
        return None
    delimiter = _DELIMITER_NAMES.get(text, text)
    if len(delimiter) > 1 or not delimiter.isascii() or delimiter.isalnum() or delimiter in '"\r\n':
        raise _malformed(
            "csv_delimiter", "tab, or one ASCII character that is no letter, digit or quote", text
        )
    return delimiter


def _constants(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a JSON object, given as text in a URL and as an object in a body."""
    value = parameters.get("constants")
    if value is None or value == "":
        return {}
    decoded = value
    if isinstance(value, str):
        try:
            decoded = orjson.loads(value)
        except orjson.JSONDecodeError:
            decoded = None
    if not isinstance(decoded, dict):
        raise _malformed(
            "constants", 'a JSON object with the values of inputs, as in {"keep_prob": 1.0}', value
        )
    check_depth(decoded, "constants")
    return decoded


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


def _malformed(name: str, expected: str, value: Any) -> InvalidArgument:
    return InvalidArgument(
        f"parameter {name} must be {expected}, it is {str(value)[:100]!r}",
        {"parameters": [name]},
    )


def parameters_of(spec: JobSpec) -> dict[str, Any]:
    """The parameters that `parse_job_spec` parses to this spec; defaults are left out.

    `numbered_outputs` is not among them: no caller can ask for it.
    """
    fields = spec.fields
    parameters = {
        "model": str(spec.model),
        "input": list(map(str, spec.inputs)),
        "output": str(spec.output),
        "key_field": fields.key,
        "include_instance": fields.include_instance or None,
        "included_fields": None if fields.included is None else list(fields.included),
        "excluded_fields": list(fields.excluded) or None,
        "on_error": None if spec.on_error == "fail" else spec.on_error,
        "output_format": None if spec.output_format == "jsonl" else spec.output_format,
        "integer_strings": spec.integer_strings or None,
        "constants": dict(spec.constants) or None,
        "output_filter": list(spec.output_filter) or None,
        "force": spec.force or None,
        "warm_up_data_path": None if spec.warm_up is None else str(spec.warm_up.path),
        "warm_up_count": None if spec.warm_up is None else spec.warm_up.count,
    }
    for name in _AS_THEY_ARE:
        parameters[name] = getattr(spec, name)
    return {name: value for name, value in parameters.items() if value is not None}
