"""The wire: gRPC calls to one model server on a unix socket."""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc

from tfserving_launcher._errors import ModelLoadError, PredictError
from tfserving_launcher._readiness import Readiness
from tfserving_launcher.protos import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelServiceStub,
    ModelVersionStatus,
    PredictionServiceStub,
    PredictRequest,
    SignatureDefMap,
)
from tfserving_launcher.tensors import Array, from_proto, to_proto

_ANY_SIZE = -1
_STATUS_TIMEOUT_SECONDS = 5.0
_NOT_YET_CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
)


class _Connection:
    """A channel and its stubs: making a stub takes as long as a small call."""

    def __init__(self, socket_path: Path, max_answer_bytes: int | None) -> None:
        self.channel = grpc.insecure_channel(
            f"unix:{socket_path}", options=_channel_options(max_answer_bytes)
        )
        self.models = ModelServiceStub(self.channel)
        self.predictions = PredictionServiceStub(self.channel)


class ModelServerClient:
    """Calls to the server behind `socket_path`, for the model `model_name`.

    The size of answers is bounded by channel, so each bound has a channel of its own.
    """

    def __init__(self, socket_path: Path, model_name: str) -> None:
        self._socket_path = socket_path
        self._model_name = model_name
        self._connections: dict[int | None, _Connection] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            for connection in self._connections.values():
                connection.channel.close()

    def _connection(self, max_answer_bytes: int | None = None) -> _Connection:
        with self._lock:
            if max_answer_bytes not in self._connections:
                self._connections[max_answer_bytes] = _Connection(
                    self._socket_path, max_answer_bytes
                )
            return self._connections[max_answer_bytes]

    def probe(self, timeout_seconds: float) -> Readiness:
        """Whether the model is available; ModelLoadError when the server says that it never will.

        The channel is opened only once the socket accepts: a channel that has seen a refusal
        waits a second before it tries again.
        """
        if not self._connections and not _accepts(self._socket_path):
            return Readiness.NOT_YET
        request = GetModelStatusRequest()
        request.model_spec.name = self._model_name
        try:
            answer = self._connection().models.GetModelStatus(
                request, timeout=min(timeout_seconds, _STATUS_TIMEOUT_SECONDS)
            )
        except grpc.RpcError as error:
            if error.code() in _NOT_YET_CODES:
                return Readiness.NOT_YET
            raise _refusal(error) from None
        states = list(answer.model_version_status)
        if any(version.state == ModelVersionStatus.AVAILABLE for version in states):
            return Readiness.READY
        for version in states:
            if version.state == ModelVersionStatus.END and version.status.error_code:
                raise ModelLoadError(version.status.error_message, output="")
        return Readiness.NOT_YET

    def signature_defs(self, timeout_seconds: float) -> dict[str, object]:
        """SignatureDef messages by name. Raises PredictError where the call is refused."""
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model_name
        try:
            answer = self._connection().predictions.GetModelMetadata(
                request, timeout=timeout_seconds
            )
        except grpc.RpcError as error:
            raise _refusal(error) from None
        signature_defs = SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signature_defs)
        return dict(signature_defs.signature_def)

    def predict(
        self,
        inputs: dict[str, Array],
        *,
        signature_name: str,
        output_filter: Sequence[str] = (),
        timeout_seconds: float,
        max_answer_bytes: int | None = None,
    ) -> "PredictCall":
        """Sends the call and returns at once."""
        request = PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature_name
        request.output_filter.extend(output_filter)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        stub = self._connection(max_answer_bytes).predictions
        return PredictCall(stub.Predict.future(request, timeout=timeout_seconds))


class PredictCall:
    """One call under way."""

    def __init__(self, future: Any) -> None:
        self.future = future

    def result(self) -> dict[str, Array]:
        """The outputs by name, sorted. Raises PredictError where the server refuses or is gone."""
        try:
            answer = self.future.result()
        except grpc.RpcError as error:
            raise _refusal(error) from None
        except grpc.FutureCancelledError:
            raise PredictError("CANCELLED", "the call was cancelled here") from None
        return {name: from_proto(answer.outputs[name]) for name in sorted(answer.outputs)}


def _channel_options(max_answer_bytes: int | None) -> list[tuple[str, int]]:
    """The server takes messages up to 2 GiB; the client's own default for answers is 4 MiB."""
    return [
        ("grpc.max_receive_message_length", max_answer_bytes or _ANY_SIZE),
        ("grpc.max_send_message_length", _ANY_SIZE),
        ("grpc.enable_http_proxy", 0),
    ]


def _refusal(error: grpc.RpcError) -> PredictError:
    # Every RpcError that a call raises is a grpc.Call too; the declared type does not say so.
    assert isinstance(error, grpc.Call)
    return PredictError(error.code().name, error.details() or "")


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True
