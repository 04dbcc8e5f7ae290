"""Model servers that are forked live and end as those do that are started anew."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.fakes.waiting import until
from tfserving_launcher import (
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
    """A fork server of its own, and the program that starts model servers from it."""

    process: psutil.Process
    program: Program

    def servers(self) -> list[psutil.Process]:
        return self.process.children()


@contextmanager
def started(temporary_folder: Path) -> Iterator[Forking]:
    usage = find_program().usage
    before = set(psutil.Process().children())
    with fork_server(temporary_folder=temporary_folder) as socket_path:
        (process,) = set(psutil.Process().children()) - before
        command = (sys.executable, "-I", "-S", str(CLIENT), str(socket_path))
        yield Forking(process, Program(command, "a test", usage))


@pytest.fixture(scope="module")
def forking(temporary_folder: Path) -> Iterator[Forking]:
    with started(temporary_folder) as fork_server_of_its_own:
        yield fork_server_of_its_own


@pytest.fixture(autouse=True)
def is_there(forking: Forking) -> None:
    """So that the fork server is not taken for what a test leaves."""


def test_predictions_are_the_same(forking: Forking, models: Path) -> None:
    with ModelServer(models / "linear" / "10", program=forking.program) as server:
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
def test_end_by_signal_is_told(number: signal.Signals, forking: Forking, models: Path) -> None:
    with ModelServer(models / "linear" / "10", program=forking.program) as server:
        (forked,) = forking.servers()
        forked.send_signal(number)
        with pytest.raises(ServerExited, match=f"killed by {number.name}"):
            while True:
                server.predict({"x": [[1, 2, 3, 4]]})


def test_a_broken_model_has_its_reason(forking: Forking, models: Path) -> None:
    with (
        pytest.raises(ModelLoadError),
        ModelServer(models / "broken" / "1", program=forking.program),
    ):
        pass


def test_flags_are_read_by_the_fork(forking: Forking) -> None:
    done = subprocess.run(
        [*forking.program.command, "--help"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 255
    assert "--model_base_path" in done.stdout


def test_killed_client_takes_its_server_along(forking: Forking, models: Path) -> None:
    """As when the process that launches is killed."""
    with ModelServer(models / "linear" / "10", program=forking.program) as server:
        (forked,) = forking.servers()
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not forked.is_running())


def test_limits_and_confinement_are_taken_over(forking: Forking, models: Path) -> None:
    with ModelServer(models / "linear" / "10", program=forking.program, largest_file_bytes=4096):
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
    server.__exit__(None, None, None)


def test_without_fork_server_the_client_says_so(models: Path, tmp_path: Path) -> None:
    program = Program((sys.executable, "-I", "-S", str(CLIENT), str(tmp_path / "s")), "a test", "")
    with (
        pytest.raises(ServerExited, match="no fork server at"),
        ModelServer(models / "linear" / "10", program=program),
    ):
        pass
