"""How a model server is run, and the command line that says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tfserving_launcher._program import Program

# Builds of 2.19 and later send tensors as bytes with the first. Without the second, which builds
# since 2.5 know, functions with jit_compile=True fail: XLA is switched off for the whole process.
_FLAGS_OF_SOME_BUILDS = ("enable_serialization_as_tensor_content", "xla_cpu_compilation_enabled")

PREFER_TFLITE = "prefer_tflite_model"

# Threads of the server's gRPC pool that poll for work count as well, and a call over the limit
# is refused, not queued.
_GRPC_THREADS_BEYOND_CALLS = 8


class ServerOptionValues(TypedDict, total=False):
    """Fields of ServerOptions that are given by name; a test holds both against each other."""

    cpus: int | None
    max_calls_in_flight: int
    start_timeout_seconds: float
    call_timeout_seconds: float
    stop_grace_seconds: float
    output_tail_bytes: int
    check_while_waiting: Callable[[], object] | None
    temporary_folder: Path | None
    environment: Mapping[str, str] | None
    confine: bool
    largest_file_bytes: int
    extra_arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Settings of one model server; durations are seconds.

    cpus                   threads for kernels; None counts the CPUs that this process may use
    max_calls_in_flight    calls that may be in flight; `submit` waits for a free slot
    start_timeout_seconds  from launch to the model being available
    call_timeout_seconds   for one call
    stop_grace_seconds     between SIGTERM and SIGKILL
    output_tail_bytes      how much of the server's own output is kept for error messages
    check_while_waiting    called again and again until the server is ready; what it raises ends
                           the start
    temporary_folder       where the server's own folder is made: its socket, its HOME and TMPDIR;
                           None: in the system's
    environment            the child's whole environment but HOME and TMPDIR; None hands on this
                           process's own
    confine                keeps the child from writing outside its own folder, from the network and
                           from new privileges, as far as the kernel can
    largest_file_bytes     that the child may write
    extra_arguments        appended to the command line, `--name=value` each
    """

    cpus: int | None = None
    max_calls_in_flight: int = 4
    start_timeout_seconds: float = 300.0
    call_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 2.0
    output_tail_bytes: int = 16 * 1024
    check_while_waiting: Callable[[], object] | None = None
    temporary_folder: Path | None = None
    environment: Mapping[str, str] | None = None
    confine: bool = True
    largest_file_bytes: int = 256 * 1024 * 1024
    extra_arguments: tuple[str, ...] = ()


def server_argv(
    program: Program,
    *,
    model_name: str,
    base_path: Path,
    socket_path: Path,
    cpus: int,
    max_calls_in_flight: int,
    prefers_tflite: bool = False,
    extra_arguments: tuple[str, ...] = (),
) -> list[str]:
    """The command line: one model, on a unix socket alone, a single attempt to load it.

    `base_path` must be absolute and hold exactly one numbered folder. With `prefers_tflite` the
    server loads the `model.tflite` in it.
    """
    flags = [
        "--port=0",
        f"--grpc_socket_path={socket_path}",
        f"--model_name={model_name}",
        f"--model_base_path={base_path}",
        "--max_num_load_retries=0",
        "--file_system_poll_wait_seconds=0",
        f"--tensorflow_intra_op_parallelism={cpus}",
        f"--tensorflow_inter_op_parallelism={cpus}",
        f"--grpc_max_threads={max_calls_in_flight + _GRPC_THREADS_BEYOND_CALLS}",
    ]
    flags += [f"--{flag}=true" for flag in _FLAGS_OF_SOME_BUILDS if program.knows(flag)]
    if prefers_tflite:
        flags.append(f"--{PREFER_TFLITE}=true")
    return [*program.command, *flags, *extra_arguments]
