"""The gRPC services: PredictionService.Predict and GetModelMetadata, ModelService.GetModelStatus.

Source of codes and messages: model_servers/grpc_status_util.cc, servables/tensorflow/
predict_impl.cc and get_model_metadata_impl.cc, model_servers/get_model_status_impl.cc.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import numpy as np

from tfserving_launcher._errors import TensorError
from tfserving_launcher.protos import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictResponse,
    SignatureDefMap,
    model_service,
    prediction_service,
)
from tfserving_launcher.python_server.saved_model import Refusal
from tfserving_launcher.tensors import (
    Array,
    from_proto,
    to_proto_with_content,
    to_proto_with_fields,
)

_LONGEST_MESSAGE = 1024

TensorEncoder = Callable[[Array], Any]


class ServableModel(Protocol):
    """A loaded model of any kind."""

    signature_defs: Mapping[str, Any]

    def predict(
        self, signature_name: str, inputs: Mapping[str, Array], output_filter: list[str]
    ) -> dict[str, Array]:
        """Outputs by name. Raises Refusal."""


@dataclass(frozen=True, slots=True)
class Servable:
    """The one model that is served."""

    name: str
    version: int
    model: ServableModel


def start_server(
    servable: Servable, socket_path: str, *, max_threads: int, tensor_content: bool
) -> grpc.Server:
    """Raises RuntimeError where the socket cannot be bound."""
    server = grpc.server(
        ThreadPoolExecutor(max_threads, thread_name_prefix="grpc"),
        options=(("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)),
        maximum_concurrent_rpcs=max_threads,
    )
    prediction_service.add_PredictionServiceServicer_to_server(
        _PredictionService(
            servable, to_proto_with_content if tensor_content else to_proto_with_fields
        ),
        server,
    )
    model_service.add_ModelServiceServicer_to_server(_ModelService(servable), server)
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    return server


class _PredictionService(prediction_service.PredictionServiceServicer):  # type: ignore[misc]  # generated, untyped
    def __init__(self, servable: Servable, encode: TensorEncoder) -> None:
        self._servable = servable
        self._encode = encode

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        servable = self._servable
        _check_servable(servable, request.model_spec, context)
        try:
            inputs = {name: from_proto(proto) for name, proto in request.inputs.items()}
            outputs = servable.model.predict(
                request.model_spec.signature_name, inputs, list(request.output_filter)
            )
        except Refusal as refusal:
            _abort(context, refusal.code, str(refusal))
        except TensorError as error:
            _abort(context, "INVALID_ARGUMENT", str(error))
        response = PredictResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(self._encode(np.asarray(value)))
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check_servable(self._servable, request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            _abort(context, "INVALID_ARGUMENT", "Metadata field must be signature_def")
        signatures = SignatureDefMap()
        for name, definition in self._servable.model.signature_defs.items():
            signatures.signature_def[name].ParseFromString(definition.SerializeToString())
        response = GetModelMetadataResponse()
        response.model_spec.name = self._servable.name
        response.model_spec.version.value = self._servable.version
        response.metadata["signature_def"].Pack(signatures)
        return response


class _ModelService(model_service.ModelServiceServicer):  # type: ignore[misc]  # generated, untyped
    def __init__(self, servable: Servable) -> None:
        self._servable = servable

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        _check_servable(self._servable, request.model_spec, context)
        response = GetModelStatusResponse()
        response.model_version_status.add(
            version=self._servable.version, state=ModelVersionStatus.AVAILABLE
        )
        return response


def _check_servable(servable: Servable, spec: Any, context: grpc.ServicerContext) -> None:
    if not spec.name:
        _abort(context, "INVALID_ARGUMENT", "ModelSpec has no name specified.")
    asked = spec.version.value if spec.HasField("version") else servable.version
    if spec.name != servable.name or asked != servable.version:
        which = f"Specific({spec.name}, {asked})"
        if not spec.HasField("version"):
            which = f"Latest({spec.name})"
        _abort(context, "NOT_FOUND", f"Servable not found for request: {which}")


def _abort(context: grpc.ServicerContext, code: str, message: str) -> NoReturn:
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
    context.abort(grpc.StatusCode[code], message)
