"""Descriptions of a model's signatures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tfserving_launcher._errors import TensorError
from tfserving_launcher.tensors import (
    STRING,
    Array,
    dtype_name,
    dtype_of,
    family,
    from_proto,
    integer_range,
    string_array,
)

# Of TypeSpecProto.TypeSpecClass: core/protobuf/struct.proto.
_COMPOSITES: dict[int, Literal["sparse", "ragged"]] = {1: "sparse", 3: "ragged"}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. A dimension of None may have any size; `shape` None means any rank.

    Calls carry dense tensors only; `encoding` says what the signature wants or gives
    (meta_graph.proto, TensorInfo).
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None
    encoding: Literal["dense", "sparse", "ragged", "composite"] = "dense"

    def __str__(self) -> str:
        kind = "" if self.encoding == "dense" else f"{self.encoding} "
        if self.shape is None:
            return f"{kind}{dtype_name(self.dtype)} of any shape"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{kind}{dtype_name(self.dtype)}[{sizes}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """A named function of the model; the mappings are sorted by name.

    `defaults` are the values of inputs that a call may leave out (meta_graph.proto, SignatureDef).
    """

    name: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array] = field(default_factory=dict)


def read_signature(name: str, definition: Any) -> Signature:
    """From a SignatureDef; TensorError where a tensor is of a dtype that NumPy cannot hold."""
    return Signature(
        name=name,
        method_name=definition.method_name,
        inputs=_tensor_specs(definition.inputs),
        outputs=_tensor_specs(definition.outputs),
        # Servers before 2.14 do not know of them.
        defaults={
            name: from_proto(definition.defaults[name])
            for name in sorted(getattr(definition, "defaults", ()))
        },
    )


def as_tensor(value: object, spec: TensorSpec, name: str) -> Array:
    """`value` as an array of the spec's dtype, C-contiguous; TensorError where that loses anything.

    Shapes are left to the caller: a server may take more than the signature says.
    """
    array = np.asarray(value)
    if spec.dtype == STRING:
        return _as_strings(array, name)
    if array.dtype != spec.dtype and array.size:
        if not _can_hold(spec.dtype, array):
            raise TensorError(f"input {name!r} is {spec}, the values are {array.dtype}")
        if family(spec.dtype) == "integer":
            smallest, largest = integer_range(spec.dtype)
            if array.min() < smallest or array.max() > largest:
                raise TensorError(f"input {name!r} is {spec}, and a value is out of its range")
    array = array.astype(spec.dtype, copy=False)
    return np.ascontiguousarray(array).reshape(array.shape)


def _can_hold(dtype: np.dtype[np.generic], array: Array) -> bool:
    wanted, given = family(dtype), family(array.dtype)
    return wanted == given or (wanted in ("float", "complex") and given in ("float", "integer"))


def _as_strings(array: Array, name: str) -> Array:
    values = [
        value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()
    ]
    wrong = next((value for value in values if not isinstance(value, bytes)), None)
    if wrong is not None:
        raise TensorError(f"input {name!r} is string, a value is {type(wrong).__name__}")
    return string_array(values).reshape(array.shape)


def _tensor_specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor_spec(name, infos[name]) for name in sorted(infos)}


def _tensor_spec(name: str, info: Any) -> TensorSpec:
    encoding = _encoding(info)
    # Only the parts of a ragged tensor have a type; the first are its values.
    parts = info.composite_tensor.components if encoding not in ("dense", "sparse") else ()
    try:
        dtype = dtype_of(parts[0].dtype if parts else info.dtype)
    except TensorError as error:
        raise TensorError(f"tensor {name!r} of the signature: {error}") from None
    if info.tensor_shape.unknown_rank or parts:
        return TensorSpec(dtype, None, encoding)
    shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype, shape, encoding)


def _encoding(info: Any) -> Literal["dense", "sparse", "ragged", "composite"]:
    match info.WhichOneof("encoding"):
        case "coo_sparse":
            return "sparse"
        case "composite_tensor":
            kind = info.composite_tensor.type_spec.type_spec_class
            return _COMPOSITES.get(kind, "composite")
    return "dense"
