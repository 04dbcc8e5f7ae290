from pathlib import Path

from tfserving_launcher import Program
from tfserving_launcher.options import server_argv


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


def test_the_command_line_names_one_model_a_socket_and_every_thread_count() -> None:
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


def test_tensor_content_is_asked_for_only_where_the_program_knows_it() -> None:
    knows = argv("\t--enable_serialization_as_tensor_content=false\tbool\t...")
    assert knows[-1] == "--enable_serialization_as_tensor_content=true"
    assert knows[:-1] == argv(usage="\t--port=8500\tint32")


def test_extra_arguments_come_last() -> None:
    assert argv("", "--enable_batching=true")[-1] == "--enable_batching=true"
