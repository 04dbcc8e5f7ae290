import subprocess
import sys

import pytest

from tfserving_launcher.python_server.flags import Flags, parse_flags, usage


def run(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tfserving_launcher.python_server", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_flags_are_read_as_the_real_program_reads_them() -> None:
    flags = parse_flags(
        ["--port=0", "--grpc_socket_path=/s", "--enable_serialization_as_tensor_content"]
    )
    assert flags == Flags(
        port=0, grpc_socket_path="/s", enable_serialization_as_tensor_content=True
    )


def test_an_unknown_flag_is_reported_and_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_flags(["--no_such_flag=1", "--port=0"]) == Flags(port=0)
    assert capsys.readouterr().out.startswith("unknown argument: --no_such_flag=1\n")


@pytest.mark.parametrize("flag", ["--port=many", "--help=1"])
def test_unreadable_value_ends_program_with_255(flag: str) -> None:
    """A value that cannot be read ends the program with 255."""
    done = run(flag)
    assert done.returncode == 255
    assert "Flags:" in done.stdout


def test_help_lists_every_flag_and_ends_with_255() -> None:
    done = run("--help")
    assert done.returncode == 255
    assert done.stdout.strip() == usage()
    assert "--model_base_path=" in done.stdout


def test_version_says_that_it_is_a_stand_in() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert "stand-in for tensorflow_model_server" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port=0"], "needs --port=0 --grpc_socket_path"),
        (["--port=0", "--grpc_socket_path=/s", "--model_base_path=m"], "absolute path"),
    ],
)
def test_impossible_flags_end_program_with_words(flags: list[str], words: str) -> None:
    """Flags that cannot work end the program with its last words."""
    done = run(*flags)
    assert done.returncode == 255
    assert done.stdout.startswith("Failed to start server. Error: INVALID_ARGUMENT")
    assert words in done.stdout
