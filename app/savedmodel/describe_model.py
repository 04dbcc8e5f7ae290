"""Describes a model's signatures and how to call them, from its `saved_model.pb` alone."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import orjson

from app.codec.constants import narrow_signature
from app.codec.signatures import (
    check_inputs,
    check_outputs,
    default_signature,
    fixed_batch_size,
    has_json_form,
    only_string_input,
    takes_examples,
)
from app.errors import InvalidArgument, InvalidModel
from app.savedmodel.model_files import SAVED_MODEL_PB, ModelFiles
from app.storage import Location, Storage
from tfserving_launcher import NotASavedModel, Signature, TensorError, TensorSpec
from tfserving_launcher.parse_spec import FeatureTypes, read_parse_spec
from tfserving_launcher.saved_model import TFLITE_FILE, read_signatures
from tfserving_launcher.tensors import dtype_name, family

# The size of an open dimension in examples.
_OPEN_SIZE = 2
# Longer examples are not shown.
_MOST_VALUES = 1000
_VALUES: dict[str, Any] = {"float": 0.5, "integer": 1, "bool": True, "string": "text"}
_FEATURES: dict[str, Any] = {"float": 0.5, "int64": 1, "bytes": "text"}
_FEW_COLUMNS = 10


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """One input or output. A size of None is open; a `shape` of None may be any."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    encoding: str
    has_default: bool


@dataclass(frozen=True, slots=True)
class SignatureDescription:
    """One signature. `line` and `csv_header` are examples of inputs, if there are any.

    `parameters` are those that a job needs besides model, input and output. `problem` says why no
    job can call the signature.
    """

    name: str
    method_name: str
    is_default: bool
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    batch_size: int | None
    parameters: Mapping[str, str]
    line: str | None
    csv_header: str | None
    problem: str | None
    command: str


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model and its signatures; `version` is the one that is served, of `versions`."""

    model: str
    version: str
    versions: tuple[str, ...]
    size: int
    signatures: tuple[SignatureDescription, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def describe_model(
    model: ModelFiles, asked: Location, storage: Storage, folder: Path
) -> ModelDescription:
    """Fetch `saved_model.pb` into `folder` and describe it.

    Raises InvalidModel if it cannot be read, and what storage raises.
    """
    path = folder / SAVED_MODEL_PB
    location = model.folder.below(SAVED_MODEL_PB)
    file = next((one for one in model.files if one.location == location), None)
    if file is None and model.is_tflite:
        raise InvalidModel(
            f"model: {model.folder} holds a {TFLITE_FILE}, whose signatures only a server reads"
        )
    if file is None:
        raise InvalidModel(f"model: {model.folder} holds its graph as text, which is not read here")
    storage.fetch(file, path, lambda: None)
    try:
        signatures = read_signatures(path)
    except (NotASavedModel, TensorError) as error:
        raise InvalidModel(f"model: {model.folder}: {error}") from None
    default = default_signature(signatures)
    features = {name: read_parse_spec(path, name) for name in signatures}
    return ModelDescription(
        model=str(asked),
        version=model.version,
        versions=model.versions or (model.version,),
        size=model.size,
        signatures=tuple(
            _describe(signature, features[name], str(asked), is_default=name == default)
            for name, signature in signatures.items()
        ),
    )


def _describe(
    signature: Signature, features: FeatureTypes | None, model: str, *, is_default: bool
) -> SignatureDescription:
    constants = [name for name, spec in _required(signature) if spec.shape == ()]
    writable = [name for name, spec in signature.outputs.items() if has_json_form(spec)]
    chosen = writable if len(writable) < len(signature.outputs) else []
    problem, batch_size = None, None
    try:
        rows = narrow_signature(signature, constants, chosen)
        check_inputs(rows)
        check_outputs(rows)
        batch_size = fixed_batch_size(rows)
    except (InvalidArgument, InvalidModel) as error:
        rows, problem = signature, error.message
    parameters = {} if is_default else {"signature_name": signature.name}
    if constants:
        values = {name: _example(signature.inputs[name], 0) for name in constants}
        parameters["constants"] = orjson.dumps(values).decode()
    if chosen:
        parameters["output_filter"] = ",".join(chosen)
    instance = None if problem else _instance(rows, features)
    line = None if instance is None else orjson.dumps(instance).decode()
    return SignatureDescription(
        name=signature.name,
        method_name=signature.method_name,
        is_default=is_default,
        inputs=tuple(_tensors(signature.inputs, signature.defaults)),
        outputs=tuple(_tensors(signature.outputs, ())),
        batch_size=batch_size,
        parameters=parameters,
        line=line,
        csv_header=None if instance is None else _csv_header(rows, instance),
        problem=problem,
        command=_command(model, parameters),
    )


def _required(signature: Signature) -> Iterable[tuple[str, TensorSpec]]:
    return ((n, spec) for n, spec in signature.inputs.items() if n not in signature.defaults)


def _tensors(
    specs: Mapping[str, TensorSpec], defaults: Iterable[str]
) -> Iterable[TensorDescription]:
    with_default = set(defaults)
    for name, spec in specs.items():
        yield TensorDescription(
            name, dtype_name(spec.dtype), spec.shape, spec.encoding, name in with_default
        )


def _instance(signature: Signature, features: FeatureTypes | None) -> Any:
    """An example instance; None if it would be too long."""
    if features and (takes_examples(signature) or only_string_input(signature)):
        return {name: _FEATURES[kind] for name, kind in sorted(features.items())}
    inputs = _inputs(signature)
    if sum(_values(spec) for spec in inputs.values()) > _MOST_VALUES:
        return None
    values = {name: _example(spec, 1) for name, spec in inputs.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _inputs(signature: Signature) -> dict[str, TensorSpec]:
    """The inputs that each row has."""
    inputs = dict(_required(signature)) or signature.inputs
    return {name: spec for name, spec in inputs.items() if spec.shape != ()}


def _values(spec: TensorSpec) -> int:
    return prod(_OPEN_SIZE if size is None else size for size in (spec.shape or ())[1:])


def _example(spec: TensorSpec, outer: int) -> Any:
    """An example value without the `outer` dimensions and without a last dimension of 1."""
    value = _VALUES[family(spec.dtype)]
    sizes = (spec.shape or ())[outer:]
    for size in reversed(sizes[:-1] if sizes[-1:] == (1,) else sizes):
        value = [value] * (_OPEN_SIZE if size is None else size)
    return value


def _csv_header(signature: Signature, instance: Any) -> str | None:
    """An example header; None if cells would hold lists."""
    inputs = _inputs(signature)
    if isinstance(instance, dict):
        scalars = not any(isinstance(value, list) for value in instance.values())
        return ",".join(instance) if scalars else None
    ((name, spec),) = inputs.items()
    if not isinstance(instance, list):
        return name
    if isinstance(instance[0], list) or family(spec.dtype) not in ("float", "integer"):
        return None
    columns = [f"{name}{number}" for number in range(len(instance))]
    if len(columns) > _FEW_COLUMNS:
        columns = [*columns[:2], "...", columns[-1]]
    return ",".join(columns)


def _command(model: str, parameters: Mapping[str, str]) -> str:
    options = [
        word
        for name, value in parameters.items()
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    words = ["embedded-tf", "predict", "--model", model, *options]
    return f"{shlex.join(words)} --input FOLDER/ --output FOLDER/"
