"""Model servers that are forked live and end as those do that are started anew."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from tests.fakes.waiting import until
from tfserving_launcher import (
    FORK_SERVER_VARIABLE,
    ModelLoadError,
    ModelServer,
    Program,
    ServerExited,
    find_program,
    fork_server,
)

CLIENT = Path(__file__).parents[2] / "tfserving_launcher/python_server/fork_client.py"


@dataclass(frozen=True)
class Forking:
    """A fork server of its own, the program that starts model servers from it, and the same as a
    command, for programs that run one.
    """

    process: psutil.Process
    program: Program
    command: Program

    def servers(self) -> list[psutil.Process]:
        return self.process.children()


@contextmanager
def started(temporary_folder: Path) -> Iterator[Forking]:
    usage = find_program().usage
    before = set(psutil.Process().children())
    with fork_server(temporary_folder=temporary_folder) as socket_path:
        (process,) = set(psutil.Process().children()) - before
        command = (sys.executable, "-I", "-S", str(CLIENT), str(socket_path))
        as_command = Program(command, "a test", usage)
        yield Forking(process, replace(as_command, fork_server=socket_path), as_command)


@pytest.fixture(scope="module")
def forking(temporary_folder: Path) -> Iterator[Forking]:
    with started(temporary_folder) as fork_server_of_its_own:
        yield fork_server_of_its_own


@pytest.fixture(autouse=True)
def is_there(forking: Forking) -> None:
    """So that the fork server is not taken for what a test leaves."""


def has_socket(servers: list[psutil.Process]) -> bool:
    """Whether the one server listens. Before it there is one that answers --help."""
    try:
        return len(servers) == 1 and bool(servers[0].net_connections("unix"))
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(params=["asked", "by command"])
def program(forking: Forking, request: pytest.FixtureRequest) -> Program:
    """Each way to a forked server."""
    return forking.program if request.param == "asked" else forking.command


def test_predictions_are_the_same(forking: Forking, program: Program, models: Path) -> None:
    with ModelServer(models / "linear" / "10", program=program) as server:
        assert server.predict({"x": [[1, 2, 3, 4]]})["y"].tolist() == [[10.0, 20.0, 30.0, 40.0]]
        (forked,) = forking.servers()
        assert os.getsid(forked.pid) == forked.pid
    until(lambda: not forked.is_running())


def test_several_live_side_by_side(forking: Forking, models: Path) -> None:
    with (
        ModelServer(models / "linear" / "9", program=forking.program) as nine,
        ModelServer(models / "linear" / "10", program=forking.program) as ten,
    ):
        outputs = [server.predict({"x": [[1, 0, 0, 0]]})["y"][0, 0] for server in (nine, ten)]
        assert outputs == [9.0, 10.0]
        assert len(forking.servers()) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_end_by_signal_is_told(
    number: signal.Signals, forking: Forking, program: Program, models: Path
) -> None:
    with ModelServer(models / "linear" / "10", program=program) as server:
        (forked,) = forking.servers()
        forked.send_signal(number)
        with pytest.raises(ServerExited, match=f"killed by {number.name}"):
            while True:
                server.predict({"x": [[1, 2, 3, 4]]})


def test_a_broken_model_has_its_reason(program: Program, models: Path) -> None:
    with pytest.raises(ModelLoadError), ModelServer(models / "broken" / "1", program=program):
        pass


def test_flags_are_read_by_the_fork(forking: Forking) -> None:
    done = subprocess.run(
        [*forking.command.command, "--help"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 255
    assert "--model_base_path" in done.stdout


def test_killed_client_takes_its_server_along(forking: Forking, models: Path) -> None:
    with ModelServer(models / "linear" / "10", program=forking.command) as server:
        (forked,) = forking.servers()
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not forked.is_running())


def test_a_killed_launcher_takes_its_server_along(forking: Forking, models: Path) -> None:
    code = "import sys, threading; from tfserving_launcher import ModelServer\n"
    code += "server = ModelServer(sys.argv[1]).__enter__(); threading.Event().wait()"
    with tempfile.TemporaryDirectory() as folder:  # which nobody else would clean
        environment = {FORK_SERVER_VARIABLE: str(forking.program.fork_server), "TMPDIR": folder}
        launcher = subprocess.Popen(
            [sys.executable, "-c", code, str(models / "linear" / "10")],
            env={**os.environ, **environment},
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: has_socket(forking.servers()))
            (forked,) = forking.servers()
        finally:
            launcher.kill()
            launcher.wait()
        until(lambda: not forked.is_running())


def test_limits_and_confinement_are_taken_over(
    forking: Forking, program: Program, models: Path
) -> None:
    with ModelServer(models / "linear" / "10", program=program, largest_file_bytes=4096):
        (forked,) = forking.servers()
        assert forked.rlimit(psutil.RLIMIT_FSIZE) == (4096, 4096)
        assert Path(f"/proc/{forked.pid}/oom_score_adj").read_text().strip() == "1000"
        status = Path(f"/proc/{forked.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status


def test_all_end_with_the_fork_server(models: Path, temporary_folder: Path) -> None:
    with started(temporary_folder) as other:
        server = ModelServer(models / "linear" / "10", program=other.program)
        server.__enter__()
        (forked,) = other.servers()
    until(lambda: not other.process.is_running() and not forked.is_running())
    with pytest.raises(ServerExited):
        server.predict({"x": [[1, 2, 3, 4]]})
    server.__exit__(None, None, None)


def test_without_fork_server_the_launcher_says_so(models: Path, tmp_path: Path) -> None:
    program = Program(("client",), "a test", "", fork_server=tmp_path / "s")
    with (
        pytest.raises(ServerExited, match="no fork server at .*: No such file"),
        ModelServer(models / "linear" / "10", program=program),
    ):
        pass


def test_without_fork_server_the_client_says_so(models: Path, tmp_path: Path) -> None:
    program = Program((sys.executable, "-I", "-S", str(CLIENT), str(tmp_path / "s")), "a test", "")
    with (
        pytest.raises(ServerExited, match="no fork server at"),
        ModelServer(models / "linear" / "10", program=program),
    ):
        pass


def test_one_that_serves_its_session_turns_others_away(
    temporary_folder: Path, models: Path
) -> None:
    """A model server has a session of its own, so it cannot have itself forked unconfined."""
    usage = find_program().usage
    with fork_server(temporary_folder=temporary_folder, own_session_only=True) as socket_path:
        command = (sys.executable, "-I", "-S", str(CLIENT), str(socket_path))
        program = Program(command, "a test", usage, fork_server=socket_path)
        with ModelServer(models / "linear" / "9", program=program) as server:
            assert server.predict({"x": [[1, 2, 3, 4]]})
        elsewhere = subprocess.run(
            [*command, "--version"],
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )
        assert elsewhere.returncode == 255
        assert "has ended" in elsewhere.stdout
        here = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        assert here.returncode == 0
        assert "TensorFlow" in here.stdout


def test_it_gets_no_more_environment_than_it_is_given(temporary_folder: Path) -> None:
    """A model could read what the process had at its start."""
    before = set(psutil.Process().children())
    with fork_server(temporary_folder=temporary_folder, environment={"PATH": os.environ["PATH"]}):
        (process,) = set(psutil.Process().children()) - before
        assert process.environ().keys() <= {"PATH", "TMPDIR", "TF_CPP_MIN_LOG_LEVEL"}
