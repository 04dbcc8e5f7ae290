"""Translates Vertex AI's BatchPredictionJob to a job.

Source: google/cloud/aiplatform/v1/batch_prediction_job.proto, and protobuf.dev/programming-guides/
json for its JSON: fields have two names, 64-bit integers are strings, times are RFC 3339.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.config.job_spec import JobSpec, parse_job_spec
from app.errors import InvalidArgument, shortened
from app.storage import Location

_INSTANCES_FORMATS = {
    "jsonl": "jsonl",
    "csv": "csv",
    "tf-record": "tfrecord",
    "tf-record-gzip": "tfrecord",
    "file-list": "file-list",
}
_PREDICTIONS_FORMATS = {"jsonl": "jsonl", "csv": "csv"}
# Parameters that the resource lacks; they may be in the URL.
URL_PARAMETERS = (
    "signature_name",
    "on_error",
    "integer_strings",
    "csv_header",
    "csv_delimiter",
    "constants",
    "output_filter",
    "timeout_seconds",
)
# The supported fields of the resource, by the path of their message.
_READ = {
    "": (
        "displayName",
        "labels",
        "model",
        "unmanagedContainerModel",
        "inputConfig",
        "instanceConfig",
        "outputConfig",
        "manualBatchTuningParameters",
        "generateExplanation",
    ),
    "unmanagedContainerModel": ("artifactUri",),
    "inputConfig": ("instancesFormat", "gcsSource"),
    "inputConfig.gcsSource": ("uris",),
    "instanceConfig": ("instanceType", "keyField", "includedFields", "excludedFields"),
    "outputConfig": ("predictionsFormat", "gcsDestination"),
    "outputConfig.gcsDestination": ("outputUriPrefix",),
    "manualBatchTuningParameters": ("batchSize",),
}
# The service sets them; in a request they are of another job.
_OUTPUT_ONLY = (
    "completionStats",
    "createTime",
    "endTime",
    "error",
    "modelMonitoringStatsAnomalies",
    "modelMonitoringStatus",
    "modelVersionId",
    "name",
    "outputInfo",
    "partialFailures",
    "resourcesConsumed",
    "satisfiesPzi",
    "satisfiesPzs",
    "startTime",
    "state",
    "updateTime",
)
# Fields about machines and services that the platform chooses here.
_MEANINGLESS = {
    "": (
        "dedicatedResources",
        "disableContainerLogging",
        "encryptionSpec",
        "explanationSpec",
        "modelMonitoringConfig",
        "modelParameters",
        "serviceAccount",
    ),
    "unmanagedContainerModel": ("containerSpec", "predictSchemata"),
}
_STRINGS = (
    "displayName",
    "model",
    "serviceAccount",
    "unmanagedContainerModel.artifactUri",
    "inputConfig.instancesFormat",
    "instanceConfig.instanceType",
    "instanceConfig.keyField",
    "outputConfig.predictionsFormat",
    "outputConfig.gcsDestination.outputUriPrefix",
)
_BOOLEANS = ("disableContainerLogging", "generateExplanation")
_OBJECTS = (
    "labels",
    "dedicatedResources",
    "encryptionSpec",
    "explanationSpec",
    "modelMonitoringConfig",
    "unmanagedContainerModel.containerSpec",
    "unmanagedContainerModel.predictSchemata",
)
_STRING_LISTS = (
    "inputConfig.gcsSource.uris",
    "instanceConfig.includedFields",
    "instanceConfig.excludedFields",
)
# projects.locations.models.get: a version, or one of its aliases, may follow an @.
_MODEL_NAME = re.compile(
    "projects/[^/]+/locations/[^/]+/models/(?P<name>[A-Za-z0-9_-]+)(?:@(?P<version>[a-z0-9-]+))?"
)


@dataclass(frozen=True, slots=True)
class BatchPredictionJob:
    """A job given as Vertex AI's resource, which `resource` keeps unchanged."""

    spec: JobSpec
    resource: dict[str, Any]
    warnings: tuple[str, ...]


def parse_batch_prediction_job(
    body: Mapping[str, Any],
    url_parameters: Mapping[str, Any],
    *,
    models: Location | None,
    folder_suffix: str,
) -> BatchPredictionJob:
    """Parse the resource of a new job.

    Below `models` are the models that Vertex AI's names stand for. The outputs' folder ends in
    `folder_suffix`. Raises InvalidArgument with the field, the expected and the actual value.
    """
    resource, meaningless = _read(body, "")
    warnings = [f"{name} means nothing here" for name in meaningless]
    if resource.get("generateExplanation"):
        raise _refused("generateExplanation", "false: there are no explanations here", True)
    if unknown := [name for name in url_parameters if name not in URL_PARAMETERS]:
        raise InvalidArgument(
            f"unknown parameter {shortened(unknown[0])!r}; the URL takes"
            f" {', '.join(URL_PARAMETERS)}, the rest is in the body",
            {"parameters": unknown},
        )
    container = _message(resource, "unmanagedContainerModel")
    given = [uri for uri in (resource.get("model"), container.get("artifactUri")) if uri]
    if len(given) != 1:
        raise InvalidArgument(
            "expected one of model and unmanagedContainerModel.artifactUri, with the gs:// URI of a"
            f" SavedModel's folder; {'both are' if given else 'neither is'} given"
        )
    (model,) = given
    if isinstance(model, str) and model.startswith("projects/"):
        model = str(_named_model(model, models))
    source, target = _message(resource, "inputConfig"), _message(resource, "outputConfig")
    instances = _message(resource, "instanceConfig")
    instances_format = _format(source, "inputConfig.instancesFormat", _INSTANCES_FORMATS)
    key = instances.get("keyField")
    parameters = {
        **url_parameters,
        "model": model,
        "input": _required(source, "inputConfig.gcsSource.uris"),
        "output": _required(target, "outputConfig.gcsDestination.outputUriPrefix"),
        "on_error": url_parameters.get("on_error") or "skip",
        "input_format": instances_format,
        "output_format": _format(target, "outputConfig.predictionsFormat", _PREDICTIONS_FORMATS),
        "output_compression": "none",
        "key_field": key,
        "include_instance": not key,
        "included_fields": instances.get("includedFields"),
        "excluded_fields": instances.get("excludedFields"),
        "batch_size": _message(resource, "manualBatchTuningParameters").get("batchSize"),
    }
    match instances.get("instanceType"):
        case None | "" | "object":
            pass
        case "array" if instances_format == "csv":
            pass
        case other:
            raise _refused("instanceConfig.instanceType", "object, or array for csv", other)
    spec = parse_job_spec(parameters)
    folder = f"prediction-{_model_name(spec)}-{folder_suffix}/"
    spec = replace(spec, output=spec.output.below(folder), numbered_outputs=True)
    return BatchPredictionJob(spec, resource, tuple(warnings))


def _named_model(name: str, models: Location | None) -> Location:
    """The folder that a name of Vertex AI's model registry stands for."""
    match = _MODEL_NAME.fullmatch(name)
    if match is None:
        raise _refused(
            "model", "a gs:// URI or projects/P/locations/L/models/NAME, with @VERSION", name
        )
    if models is None:
        raise _refused(
            "model", "the gs:// URI of a SavedModel's folder: there is no MODELS_URI", name
        )
    version = match["version"] or ""
    # Other versions are aliases, which the registry alone could resolve.
    return models.below(f"{match['name']}/" + (f"{version}/" if version.isdigit() else ""))


def _read(body: Any, path: str) -> tuple[dict[str, Any], list[str]]:
    """Read a message: its fields by JSON name, and the names of fields without a meaning here.

    Raises InvalidArgument for unknown fields.
    """
    if not isinstance(body, Mapping):
        raise _refused(path, "an object", body)
    message: dict[str, Any] = {}
    meaningless = []
    for given, value in body.items():
        if value is None:
            continue  # null means that the field is not set
        name = re.sub(r"_([a-z])", lambda match: match[1].upper(), given)
        where = f"{path}.{name}" if path else name
        if name in message or where in meaningless:
            raise InvalidArgument(f"{where}: given twice, under both of its names")
        _check_type(where, value)
        if where in _OUTPUT_ONLY:
            continue  # what a client has read of another job
        if name in _MEANINGLESS.get(path, ()):
            meaningless.append(where)
        elif name not in _READ[path]:
            raise InvalidArgument(
                f"unknown field {shortened(where)!r}; read are {', '.join(_READ[path])}",
                {"parameters": [where]},
            )
        if where in _READ:
            message[name], deeper = _read(value, where)
            meaningless += deeper
        else:
            message[name] = value
    return message, meaningless


def _check_type(where: str, value: Any) -> None:
    """Raise InvalidArgument for a value that no client could read again."""
    if where in _STRINGS and not isinstance(value, str):
        raise _refused(where, "a string", value)
    if where in _BOOLEANS and not isinstance(value, bool):
        raise _refused(where, "true or false", value)
    if where in _OBJECTS and not isinstance(value, Mapping):
        raise _refused(where, "an object", value)
    if where in _STRING_LISTS and not (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    ):
        raise _refused(where, "a list of strings", value)
    if where == "labels":
        for name, label in value.items():
            if not isinstance(label, str):
                raise _refused(f"labels.{name}", "a string", label)


def _message(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = message.get(name, {})
    return value


def _required(config: Mapping[str, Any], path: str) -> Any:
    """The required value at a path of three names, the first of which is that of `config`."""
    _, message, name = path.split(".")
    value = _message(config, message).get(name)
    if not value:
        raise InvalidArgument(f"missing field: {path}", {"parameters": [path]})
    return value


def _format(config: Mapping[str, Any], path: str, known: Mapping[str, str]) -> str:
    value = config.get(path.partition(".")[2])
    if not isinstance(value, str) or value not in known:
        raise _refused(path, f"one of {', '.join(known)}", value)
    return known[value]


def _refused(path: str, expected: str, value: object) -> InvalidArgument:
    found = "missing" if value is None else repr(str(value)[:100])
    return InvalidArgument(f"{path} must be {expected}, it is {found}", {"parameters": [path]})


def _model_name(spec: JobSpec) -> str:
    """The last component of the model's path that is not a version."""
    names = [name for name in spec.model.path.split("/") if name]
    return next((name for name in reversed(names) if not name.isdigit()), "model")
