"""A model server program that misbehaves on command, in front of the program that is found.

    python -m tests.faults.model_server ORDERS FLAGS...

ORDERS is a folder. Each start takes the first file of it, by name, away and does what it says;
without one it becomes the program itself. So the first server of a job may be bad and the next
one good. The command line of the program itself is in a file beside ORDERS.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from tfserving_launcher.protos import PredictRequest, PredictResponse
from tfserving_launcher.tensors import from_proto, to_proto

PROGRAM_FILE = "program.json"
_SOCKET_FLAG = "--grpc_socket_path="
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_START_SECONDS = 60
# A row that holds it is the one that servers die of.
POISON = -666.0
_LIMITLESS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Proxy(grpc.GenericRpcHandler):
    """Passes calls on; Predict calls as `order` says, from its `at`-th one."""

    def __init__(self, channel: grpc.Channel, order: dict[str, Any]) -> None:
        self._channel = channel
        self._order = order
        self._calls = 0
        self._lock = threading.Lock()

    def service(self, details: Any) -> Any:
        passed_on: Any = self._channel.unary_unary(details.method)

        def call(request: bytes, context: Any) -> bytes:
            if details.method == _PREDICT:
                with self._lock:
                    self._calls += 1
                    number = self._calls
                if self._is_due(number, request):
                    request = self._misbehave(request, context)
            try:
                answer: bytes = passed_on(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
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

    def _misbehave(self, request: bytes, context: Any) -> bytes:
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


def _order(orders: Path) -> dict[str, Any]:
    for file in sorted(orders.iterdir()):
        order: dict[str, Any] = json.loads(file.read_text())
        if not order.get("always"):
            file.unlink()
        return order
    return {}


def main(orders: Path, flags: list[str]) -> int:
    command = json.loads((orders.parent / PROGRAM_FILE).read_text())
    if "--help" in flags:
        return subprocess.run([*command, *flags], check=False).returncode
    order = _order(orders)
    if not order:
        os.execvp(command[0], [*command, *flags])
    at_start = order.get("at_start")
    if at_start == "exits":
        print("last words", flush=True)
        return 3
    if at_start == "hangs":
        threading.Event().wait()
    if at_start == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if order.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if order.get("forks"):
        subprocess.Popen(["sleep", "1000"])
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
