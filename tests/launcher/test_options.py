import dataclasses
from pathlib import Path

from tfserving_launcher import Program, ServerOptions, ServerOptionValues
from tfserving_launcher._options import server_argv


def test_named_values_are_the_options() -> None:
    fields = {field.name for field in dataclasses.fields(ServerOptions)}
    assert set(ServerOptionValues.__annotations__) == fields


def argv(usage: str, *extra: str) -> list[str]:
    return server_argv(
        Program(("server", "--here"), "a test", usage),
        model_name="model",
        base_path=Path("/tmp/x/m"),
        socket_path=Path("/tmp/x/s"),
        cpus=3,
        max_calls_in_flight=4,
        extra_arguments=extra,
    )


def test_argv_has_one_model_socket_and_threads() -> None:
    """The command line names one model a socket and every thread count."""
    assert argv(usage="") == [
        "server",
        "--here",
        "--port=0",
        "--grpc_socket_path=/tmp/x/s",
        "--model_name=model",
        "--model_base_path=/tmp/x/m",
        "--max_num_load_retries=0",
        "--file_system_poll_wait_seconds=0",
        "--tensorflow_intra_op_parallelism=3",
        "--tensorflow_inter_op_parallelism=3",
        "--grpc_max_threads=12",
    ]


def test_tensor_content_only_where_known() -> None:
    """Tensor content is asked for only where the program knows it."""
    knows = argv("\t--enable_serialization_as_tensor_content=false\tbool\t...")
    assert knows[-1] == "--enable_serialization_as_tensor_content=true"
    assert knows[:-1] == argv(usage="\t--port=8500\tint32")


def test_xla_is_allowed_where_it_can_be() -> None:
    """Builds that know the flag switch XLA off for the whole process without it."""
    knows = argv("\t--xla_cpu_compilation_enabled=false\tbool\t...")
    assert knows[-1] == "--xla_cpu_compilation_enabled=true"


def test_extra_arguments_come_last() -> None:
    assert argv("", "--enable_batching=true")[-1] == "--enable_batching=true"
