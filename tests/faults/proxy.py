"""The gRPC proxy of a model server program that misbehaves: see model_server.py."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from tests.faults.model_server import POISON
from tfserving_launcher.protos import PredictRequest, PredictResponse
from tfserving_launcher.tensors import from_proto, to_proto

_SOCKET_FLAG = "--grpc_socket_path="
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_START_SECONDS = 60
_LIMITLESS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Proxy(grpc.GenericRpcHandler):
    """Passes calls on; Predict calls as `order` says, from its `at`-th one."""

    def __init__(self, channel: grpc.Channel, order: dict[str, Any]) -> None:
        self._channel = channel
        self._order = order
        self._calls = 0
        self._lock = threading.Lock()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        passed_on: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            details.method
        )

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            if details.method == _PREDICT:
                with self._lock:
                    self._calls += 1
                    number = self._calls
                if self._is_due(number, request):
                    request = self._misbehave(request, context)
            try:
                answer = passed_on(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
            if details.method == _PREDICT and self._order.get("what") == "answers_short":
                return _shortened(answer)
            return answer

        return grpc.unary_unary_rpc_method_handler(call)

    def _is_due(self, number: int, request: bytes) -> bool:
        if self._order.get("what") is None:
            return False
        if self._order.get("poisoned"):
            tensors = PredictRequest.FromString(request).inputs.values()
            return any(bool(np.any(from_proto(tensor) == POISON)) for tensor in tensors)
        return number >= int(self._order.get("at", 1))

    def _misbehave(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        match self._order["what"]:
            case "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exits":
                print("giving up in the middle", flush=True)
                os._exit(7)
            case "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hangs":
                threading.Event().wait()
            case "floods":
                for _ in range(2000):
                    print("flood " * 200, file=sys.stderr)
            case "refuses":
                context.abort(grpc.StatusCode[self._order["code"]], "injected refusal")
        return request


def _shortened(answer: bytes) -> bytes:
    """One row less than was asked for."""
    message = PredictResponse.FromString(answer)
    for name in list(message.outputs):
        message.outputs[name].CopyFrom(to_proto(from_proto(message.outputs[name])[:-1]))
    text: bytes = message.SerializeToString()
    return text


def serve(command: list[str], flags: list[str], order: dict[str, Any]) -> int:
    """Runs the program behind the proxy; gives its exit status."""
    (outer,) = [flag for flag in flags if flag.startswith(_SOCKET_FLAG)]
    inner = outer + "i"
    others = [flag for flag in flags if flag != outer]
    program = subprocess.Popen([*command, *others, inner])
    channel = grpc.insecure_channel(f"unix:{inner.removeprefix(_SOCKET_FLAG)}", options=_LIMITLESS)
    _await_channel(channel, program)
    server = grpc.server(ThreadPoolExecutor(16), [Proxy(channel, order)], options=_LIMITLESS)
    server.add_insecure_port(f"unix:{outer.removeprefix(_SOCKET_FLAG)}")
    server.start()
    return program.wait()


def _await_channel(channel: grpc.Channel, program: "subprocess.Popen[bytes]") -> None:
    ready = grpc.channel_ready_future(channel)
    for _ in range(_START_SECONDS * 10):
        try:
            ready.result(timeout=0.1)
        except grpc.FutureTimeoutError:
            if program.poll() is not None:
                sys.exit(program.returncode)
        else:
            return
