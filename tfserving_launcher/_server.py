"""ModelServer: the life of one throw-away model server."""

import dataclasses
import logging
import os
import site
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from tfserving_launcher._client import ModelServerClient, PredictCall
from tfserving_launcher._cpus import available_cpus
from tfserving_launcher._errors import (
    ModelLoadError,
    PredictError,
    ServerExited,
    ServerTimeout,
    SignatureNotFound,
    TensorError,
)
from tfserving_launcher._forked_process import process_of
from tfserving_launcher._options import ServerOptions, ServerOptionValues, server_argv
from tfserving_launcher._process import ChildProcess
from tfserving_launcher._program import Program, find_program
from tfserving_launcher._readiness import Readiness, wait_until_ready
from tfserving_launcher._removal import remove
from tfserving_launcher._signatures import Signature, as_tensor, read_signature
from tfserving_launcher._version_folder import checked_version, is_tflite
from tfserving_launcher.saved_model import OP_SIGNATURES
from tfserving_launcher.tensors import Array

DEFAULT_SIGNATURE = "serving_default"

_MODEL_NAME = "model"
_SOCKET_NAME = "s"
# sockaddr_un.sun_path holds 108 bytes with its closing NUL on Linux, 104 on macOS.
_LONGEST_SOCKET_PATH = 103
# How long a broken connection may come before the news that the process behind it has ended.
_EXIT_NOTICE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ModelServer:
    """A model server for one SavedModel, alive between enter and exit.

    `version_dir` is a numbered folder that holds a SavedModel, for example `/models/energy/1`, or a
    TensorFlow Lite model as `model.tflite`.
    Options are fields of ServerOptions, given as that or by name. Entering returns when the model
    is available. It raises BadVersionFolder, NotASavedModel,
    ProgramNotFound, ConfinementFailed, ModelLoadError, ServerExited or ServerTimeout, and leaves
    nothing behind then.
    """

    def __init__(
        self,
        version_dir: str | os.PathLike[str],
        options: ServerOptions | None = None,
        *,
        program: Program | None = None,
        **values: Unpack[ServerOptionValues],
    ) -> None:
        self._version_dir = Path(version_dir)
        self._options = dataclasses.replace(options or ServerOptions(), **values)
        self._program = program
        self._signatures: dict[str, Signature] = {}
        self._signature_defs: dict[str, object] = {}
        self._slots = threading.BoundedSemaphore(self._options.max_calls_in_flight)

    def __enter__(self) -> Self:
        options = self._options
        version = checked_version(self._version_dir)
        program = self._program or find_program()
        with ExitStack() as stack:
            folder = _private_folder(stack, options.temporary_folder)
            argv = server_argv(
                program,
                model_name=_MODEL_NAME,
                base_path=_only_version(folder, self._version_dir, version),
                socket_path=folder / _SOCKET_NAME,
                cpus=options.cpus or available_cpus(),
                max_calls_in_flight=options.max_calls_in_flight,
                prefers_tflite=is_tflite(self._version_dir, program),
                extra_arguments=options.extra_arguments,
            )
            self._process = stack.enter_context(
                process_of(
                    program,
                    argv,
                    environment=_with_own_folders(options.environment, folder),
                    stop_grace_seconds=options.stop_grace_seconds,
                    tail_bytes=options.output_tail_bytes,
                    writable_folder=folder if options.confine else None,
                    largest_file_bytes=options.largest_file_bytes,
                )
            )
            self._client = stack.enter_context(
                ModelServerClient(folder / _SOCKET_NAME, _MODEL_NAME)
            )
            wait_until_ready(
                self._process,
                self._client.probe,
                timeout_seconds=options.start_timeout_seconds,
                check=options.check_while_waiting,
            )
            self._signature_defs = self._read_signature_defs()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The number of the server's process, and of its process group."""
        return self._process.pid

    def is_ready(self, timeout_seconds: float) -> bool:
        """Whether the server is there, and says within `timeout_seconds` that it has its model."""
        if self._process.exited.is_set():
            return False
        try:
            return self._client.probe(timeout_seconds) is Readiness.READY
        except (ModelLoadError, PredictError) as error:
            logger.warning("the model server is not ready any more: %s", error)
            return False

    def signature(self, name: str = DEFAULT_SIGNATURE) -> Signature:
        """One signature; raises SignatureNotFound, or TensorError where NumPy cannot hold it."""
        if name not in self._signatures:
            try:
                definition = self._signature_defs[name]
            except KeyError:
                raise SignatureNotFound(name, self.signature_names()) from None
            self._signatures[name] = read_signature(name, definition)
        return self._signatures[name]

    def method_name(self, signature_name: str) -> str:
        """The method name of a signature, even if NumPy cannot hold its tensors."""
        definition: Any = self._signature_defs[signature_name]
        method_name: str = definition.method_name
        return method_name

    def signature_names(self) -> list[str]:
        """The model's signatures, sorted, without the operations that are listed among them."""
        return sorted(name for name in self._signature_defs if name not in OP_SIGNATURES)

    def predict(
        self,
        inputs: Mapping[str, object],
        *,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        timeout_seconds: float | None = None,
        max_answer_bytes: int | None = None,
    ) -> dict[str, Array]:
        """`submit(...).result()`."""
        return self.submit(
            inputs,
            signature_name=signature_name,
            output_filter=output_filter,
            timeout_seconds=timeout_seconds,
            max_answer_bytes=max_answer_bytes,
        ).result()

    def submit(
        self,
        inputs: Mapping[str, object],
        *,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        timeout_seconds: float | None = None,
        max_answer_bytes: int | None = None,
    ) -> "PredictFuture":
        """Sends a call and returns without waiting for its answer.

        `inputs` maps the signature's input names to arrays or nested lists, the batch in the first
        dimension. `output_filter` names the outputs to compute and send, none of them all. An
        answer of more than `max_answer_bytes` is refused as RESOURCE_EXHAUSTED; None
        takes any. Waits only while `max_calls_in_flight` calls are under way. Raises
        SignatureNotFound, TensorError where names or values do not fit, ServerTimeout where no
        slot came free in `timeout_seconds` (default: the option `call_timeout_seconds`).
        """
        signature = self.signature(signature_name)
        tensors = _tensors(inputs, signature)
        seconds = self._options.call_timeout_seconds if timeout_seconds is None else timeout_seconds
        started = time.monotonic()
        if not self._slots.acquire(timeout=seconds):
            raise ServerTimeout(f"no call ended within {seconds:.1f} s to make room for another")
        try:
            call = self._client.predict(
                tensors,
                signature_name=signature_name,
                output_filter=output_filter,
                timeout_seconds=max(0.0, seconds - (time.monotonic() - started)),
                max_answer_bytes=max_answer_bytes,
            )
            call.future.add_done_callback(lambda _: self._slots.release())
        except BaseException:
            self._slots.release()
            raise
        return PredictFuture(call, self._process, seconds)

    def _read_signature_defs(self) -> dict[str, object]:
        seconds = min(self._options.call_timeout_seconds, self._options.start_timeout_seconds)
        try:
            return self._client.signature_defs(seconds)
        except PredictError as error:
            raise _what_happened(error, self._process, seconds) from None


class PredictFuture:
    """A call under way."""

    def __init__(self, call: PredictCall, process: ChildProcess, timeout_seconds: float) -> None:
        self._call = call
        self._process = process
        self._timeout_seconds = timeout_seconds

    def result(self) -> dict[str, Array]:
        """Waits for the outputs by name; every array's first dimension is the model's business.

        Raises PredictError where the server refuses the batch, ServerExited where it ended,
        ServerTimeout where it did not answer in time, TensorError where its answer cannot be read.
        """
        try:
            return self._call.result()
        except PredictError as error:
            raise _what_happened(error, self._process, self._timeout_seconds) from None

    def cancel(self) -> None:
        """Cancel the call. The server may continue to compute it."""
        self._call.future.cancel()


def _what_happened(
    error: PredictError, process: ChildProcess, timeout_seconds: float
) -> PredictError | ServerExited | ServerTimeout:
    """Distinguish a broken connection or a timeout from a refusal."""
    if error.code == "UNAVAILABLE" and process.exited.wait(_EXIT_NOTICE_SECONDS):
        return process.exit_error("while it was serving")
    if error.code == "DEADLINE_EXCEEDED":
        return ServerTimeout(f"the model server did not answer within {timeout_seconds:.1f} s")
    return error


def _tensors(inputs: Mapping[str, object], signature: Signature) -> dict[str, Array]:
    if unknown := sorted(inputs.keys() - signature.inputs.keys()):
        raise TensorError(
            f"signature {signature.name!r} has no input {', '.join(unknown)};"
            f" it has {', '.join(signature.inputs)}"
        )
    return {name: as_tensor(value, signature.inputs[name], name) for name, value in inputs.items()}


def _private_folder(stack: ExitStack, wanted: Path | None) -> Path:
    """Create a folder of mode 0700 whose path fits a socket:

    short, and without %, which gRPC unescapes.
    """
    for parent in (wanted or tempfile.gettempdir(), "/tmp"):  # noqa: S108  # mkdtemp makes a folder of our own
        folder = Path(tempfile.mkdtemp(prefix="tfs-", dir=parent))
        stack.callback(_remove, folder)
        path = str(folder / _SOCKET_NAME)
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH and "%" not in path:
            return folder
    raise OSError(f"no temporary folder with a path fit for a socket: {folder}")


def _remove(folder: Path) -> None:
    try:
        remove(folder)
    except OSError as error:
        # A process that has left the server's group may still write into it.
        logger.warning("%s could not be removed as a whole: %s", folder, error.strerror)


def _with_own_folders(environment: Mapping[str, str] | None, folder: Path) -> dict[str, str]:
    """Point HOME and TMPDIR into the server's folder, which is removed with what a model plants."""
    folders = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for path in folders.values():
        path.mkdir()
    return {
        # Where a Python program finds packages of the user's follows HOME otherwise.
        "PYTHONUSERBASE": site.getuserbase(),
        **(os.environ if environment is None else environment),
        **{name: str(path) for name, path in folders.items()},
    }


def _only_version(folder: Path, version_dir: Path, version: str) -> Path:
    """Make a base path that contains only this version, because the server takes the highest."""
    base_path = folder / "m"
    base_path.mkdir()
    (base_path / version).symlink_to(version_dir.absolute(), target_is_directory=True)
    return base_path
