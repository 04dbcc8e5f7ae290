"""The program: flags, load, bind, serve until killed.

The order is the real one's: nothing listens before the model is loaded, a model that cannot be
loaded ends the program with status 255 and its reason on standard output, and a base path without
a numbered folder is waited for without end.
"""

import os
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tfserving_launcher.python_server.flags import USAGE_EXIT_STATUS, Flags, parse_flags, usage

if TYPE_CHECKING:
    from tfserving_launcher.python_server.services import ServableModel
    from tfserving_launcher.python_server.tensorflow_runtime import TensorFlowRuntime

# As in tfserving_launcher.saved_model, whose import takes longer than --help may.
TFLITE_FILE = "model.tflite"
_NAME = "embedded-tf Python model server (a stand-in for tensorflow_model_server)"


def main(arguments: list[str]) -> int:
    """Returns the exit status; does not return while it serves."""
    try:
        flags = parse_flags(arguments)
    except ValueError as error:
        print(f"{error}\n{usage()}", flush=True)
        return USAGE_EXIT_STATUS
    if flags.help:
        print(usage(), flush=True)
        return USAGE_EXIT_STATUS
    if flags.version:
        print(f"TensorFlow ModelServer: {_NAME}\nTensorFlow Library: {tensorflow_version()}")
        return 0
    if flags.port != 0 or not flags.grpc_socket_path:
        return _failed(
            "INVALID_ARGUMENT: the Python model server needs --port=0 --grpc_socket_path"
        )
    if not Path(flags.model_base_path).is_absolute():
        return _failed(
            f"INVALID_ARGUMENT: Expected model {flags.model_name} to have an absolute path or URI;"
            f" got base_path()={flags.model_base_path}"
        )
    return _serve(flags)


def _serve(flags: Flags) -> int:
    _log(f"{_NAME}, TensorFlow {tensorflow_version()}, pid {os.getpid()}")
    versions = _versions(Path(flags.model_base_path))
    if not versions:
        _log(
            f"No versions of servable {flags.model_name} found under base path"
            f" {flags.model_base_path}. Did you forget to name your leaf directory as a number?"
        )
        threading.Event().wait()
    version = max(versions)
    started = time.monotonic()

    # Imported only here: --help and --version must not wait for TensorFlow.
    from tfserving_launcher.python_server.services import Servable, start_server
    from tfserving_launcher.python_server.tensorflow_runtime import load_runtime
    from tfserving_launcher.python_server.warm_up import replay_warm_up_requests

    runtime = load_runtime(
        [sys.executable, "-m", "tfserving_launcher.python_server", *sys.argv[1:]]
    )
    try:
        model = _load(versions[version], flags, runtime)
        if flags.enable_model_warmup:
            replayed = replay_warm_up_requests(model, versions[version])
            _log(f"Number of warmup records read: {replayed}.")
    # Whatever stops the load is reported as the real program reports it: as the reason why the
    # servable did not become available.
    except Exception as error:
        return _failed(
            "UNKNOWN: 1 servable(s) did not become available: {{{name: "
            f"{flags.model_name} version: {version}}} due to error: {_status(error)}}}, }}"
        )
    server = start_server(
        Servable(flags.model_name, version, model),
        flags.grpc_socket_path,
        max_threads=flags.grpc_max_threads,
        tensor_content=flags.enable_serialization_as_tensor_content,
    )
    _log(
        f"Successfully loaded servable version {{name: {flags.model_name} version: {version}}}"
        f" in {time.monotonic() - started:.2f} s, TensorFlow's import included"
    )
    _log(f"Running gRPC ModelServer at UNIX socket {flags.grpc_socket_path} ...")
    server.wait_for_termination()
    return 0


def _load(version_dir: Path, flags: Flags, runtime: "TensorFlowRuntime") -> "ServableModel":
    if flags.prefer_tflite_model and (version_dir / TFLITE_FILE).exists():
        from tfserving_launcher.python_server.tflite_model import TfLiteModel

        return TfLiteModel(version_dir / TFLITE_FILE)
    from tfserving_launcher.python_server.saved_model import LoadedModel

    return LoadedModel(
        version_dir,
        runtime,
        tags=flags.saved_model_tags.split(","),
        intra_op_threads=flags.tensorflow_intra_op_parallelism,
        inter_op_threads=flags.tensorflow_inter_op_parallelism,
    )


def _versions(base_path: Path) -> dict[int, Path]:
    if not base_path.is_dir():
        return {}
    return {int(path.name): path for path in base_path.iterdir() if path.name.isdigit()}


def _status(error: Exception) -> str:
    """`CODE: message` on one line, as a status prints."""
    if status := getattr(error, "status", None):
        return " ".join(status.split())
    # Errors of TensorFlow's C++ side carry the name of their class, NotFoundError and so on.
    name = type(error).__name__.removesuffix("Error")
    code = "".join(f"_{c}" if c.isupper() else c.upper() for c in name).removeprefix("_")
    message = getattr(error, "message", None) or str(error)
    return f"{code}: {' '.join(message.split())}"


def _failed(status: str) -> int:
    print(f"Failed to start server. Error: {status}", flush=True)
    return USAGE_EXIT_STATUS


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@cache
def tensorflow_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    for package in ("tensorflow-cpu", "tensorflow"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "of unknown version"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
