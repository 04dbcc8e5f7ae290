"""A TensorFlow Lite model loaded as the real server loads it with --prefer_tflite_model.

Source: servables/tensorflow/tflite_session.cc, and lite/tools/signature/signature_def_util.h for
the signatures in the model's metadata. Only builtin operations are there.
"""

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfserving_launcher._plain_tensorflow import put_plain_tensorflow
from tfserving_launcher.protos import SignatureDef
from tfserving_launcher.python_server.saved_model import Refusal
from tfserving_launcher.tensors import STRING, Array, to_proto

_SIGNATURES_METADATA = b"signature_defs_metadata"
_DEFAULT = "serving_default"
_PREDICT = "tensorflow/serving/predict"


class TfLiteModel:
    """An interpreter of one model. One call at a time uses it."""

    def __init__(self, path: Path) -> None:
        put_plain_tensorflow()
        part = importlib.import_module
        content = path.read_bytes()
        self._interpreter = part("tensorflow.lite.python.interpreter").Interpreter(
            model_content=content
        )
        self._interpreter.allocate_tensors()
        self._inputs = {one["name"]: one for one in self._interpreter.get_input_details()}
        self._outputs = {one["name"]: one for one in self._interpreter.get_output_details()}
        self._shapes: dict[str, tuple[int, ...] | None] = {
            name: tuple(detail["shape"]) for name, detail in self._inputs.items()
        }
        self._lock = threading.Lock()
        schema = part("tensorflow.lite.python.schema_py_generated")
        found = _signatures_in(schema.Model.GetRootAs(content, 0), part("flatbuffers.flexbuffers"))
        self.signature_defs: Mapping[str, Any] = found or {_DEFAULT: self._signature_of_tensors()}
        for name, signature in self.signature_defs.items():
            for kind, tensors, known in (
                ("input", signature.inputs, self._inputs),
                ("output", signature.outputs, self._outputs),
            ):
                for alias, info in tensors.items():
                    if info.name not in known:
                        raise ValueError(
                            f"Signature {kind} {alias} references an unknown tensor: Unknown tensor"
                            f" '{info.name}' ({name})."
                        )

    def predict(
        self, signature_name: str, inputs: Mapping[str, Array], output_filter: list[str]
    ) -> dict[str, Array]:
        """Outputs by name. Raises Refusal."""
        name = signature_name or _DEFAULT
        signature = self.signature_defs.get(name)
        if signature is None:
            raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        if inputs.keys() != set(signature.inputs):
            raise Refusal(
                "INVALID_ARGUMENT",
                f"input size does not match signature: ({{{','.join(sorted(inputs))}}}) !="
                f" ({{{','.join(sorted(signature.inputs))}}}).",
            )
        fetches = output_filter or sorted(signature.outputs)
        for output in fetches:
            if output not in signature.outputs:
                raise Refusal(
                    "INVALID_ARGUMENT", f"output tensor alias not found in signature: {output}"
                )
        with self._lock:
            try:
                self._set_inputs(signature, inputs)
                self._interpreter.invoke()
            except (RuntimeError, ValueError, TypeError) as error:
                raise Refusal("INTERNAL", str(error)) from error
            return {output: self._value(signature.outputs[output].name) for output in fetches}

    def _set_inputs(self, signature: Any, inputs: Mapping[str, Array]) -> None:
        details = {alias: self._inputs[signature.inputs[alias].name] for alias in inputs}
        for alias, detail in details.items():
            shape = inputs[alias].shape
            if self._shapes[detail["name"]] != shape:
                # Until it is allocated, it has no shape that could be relied on.
                self._shapes[detail["name"]] = None
                self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._shapes.update({details[alias]["name"]: inputs[alias].shape for alias in details})
        for alias, detail in details.items():
            self._interpreter.set_tensor(detail["index"], inputs[alias])

    def _value(self, tensor: str) -> Array:
        value: Array = self._interpreter.get_tensor(self._outputs[tensor]["index"])
        return value

    def _signature_of_tensors(self) -> Any:
        """The real server makes this one where the model has no signature in its metadata."""
        signature = SignatureDef(method_name=_PREDICT)
        for details, infos in (
            (self._inputs, signature.inputs),
            (self._outputs, signature.outputs),
        ):
            for name, detail in details.items():
                info = infos[name.partition(":")[0]]
                info.name = name
                info.dtype = to_proto(np.empty(0, _dtype(detail))).dtype
                for size in detail["shape"]:
                    info.tensor_shape.dim.add(size=int(size))
        return signature


def _signatures_in(model: Any, flexbuffers: Any) -> dict[str, Any]:
    """The SignatureDefs in the metadata: a FlexBuffer map of serialized messages."""
    for index in range(model.MetadataLength()):
        metadata = model.Metadata(index)
        if metadata.Name() == _SIGNATURES_METADATA:
            content = model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes()
            found = flexbuffers.GetRoot(content).AsMap
            return {
                found.Keys[number].AsKey: SignatureDef.FromString(
                    bytes(found.Values[number].AsStringBytes)
                )
                for number in range(len(found))
            }
    return {}


def _dtype(detail: Mapping[str, Any]) -> np.dtype[np.generic]:
    dtype = np.dtype(detail["dtype"])
    return STRING if dtype.kind in "SO" else dtype
