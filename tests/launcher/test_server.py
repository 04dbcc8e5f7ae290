"""A server program that misbehaves: what is raised, how soon, and that nothing is left."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tfserving_launcher import (
    BadVersionFolder,
    ModelLoadError,
    ModelServer,
    NotASavedModel,
    Program,
    ProgramNotFound,
    ServerExited,
    ServerOptions,
    ServerTimeout,
)

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def version_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def fakes_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def misbehaving(how: str) -> Program:
    command = (sys.executable, "-m", "tests.fakes.misbehaving_server", how)
    return Program(command, "a test", usage="")


def test_exited_child_reports_status_and_output(version_dir: Path) -> None:
    """A child that exits is reported with its status and last words."""
    with (
        pytest.raises(
            ServerExited, match=r"exit status 3 before it was ready.*last words"
        ) as caught,
        ModelServer(version_dir, program=misbehaving("exits")),
    ):
        pass
    assert caught.value.exit_code == 3
    assert "first words" in caught.value.output


def test_unloadable_model_has_servers_reason(
    version_dir: Path,
) -> None:
    """A model that cannot be loaded is reported with the server's reason."""
    with (
        pytest.raises(ModelLoadError) as caught,
        ModelServer(version_dir, program=misbehaving("cannot_load")),
    ):
        pass
    assert caught.value.reason == "OUT_OF_RANGE: Read less bytes"


@pytest.mark.parametrize("how", ["hangs", "hangs_deaf"])
def test_never_ready_server_ends_at_deadline(how: str, version_dir: Path) -> None:
    """A server that never becomes ready is ended at the deadline."""
    options = ServerOptions(start_timeout_seconds=3.0, stop_grace_seconds=0.2)
    with (
        pytest.raises(ServerTimeout, match=r"not ready within 3.0 s.*hanging"),
        ModelServer(version_dir, options, program=misbehaving(how)),
    ):
        pass


def test_what_the_check_raises_ends_the_start(version_dir: Path) -> None:
    def check() -> None:
        raise InterruptedError("told to stop")

    with (
        pytest.raises(InterruptedError),
        ModelServer(version_dir, program=misbehaving("hangs"), check_while_waiting=check),
    ):
        pass


def test_options_may_be_given_by_name(version_dir: Path) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        ModelServer(version_dir, no_such_option=1)  # type: ignore[call-arg]  # on purpose
    echo = Program((sys.executable, "-c", "import sys; print(sys.argv)"), "a test", usage="")
    options = ServerOptions(cpus=7, max_calls_in_flight=1)
    with (
        pytest.raises(ServerExited) as caught,
        ModelServer(version_dir, options, program=echo, cpus=5),
    ):
        pass
    assert "--tensorflow_intra_op_parallelism=5" in caught.value.output
    assert "--grpc_max_threads=9" in caught.value.output


def test_the_server_dies_with_a_process_that_is_killed(version_dir: Path, tmp_path: Path) -> None:
    script = """
import logging, sys
from tfserving_launcher import ModelServer, Program
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("tfserving_launcher.output").setLevel(logging.INFO)
sleeper = "import os, threading; print(os.getpid(), flush=True); threading.Event().wait()"
with ModelServer(sys.argv[1], program=Program((sys.executable, "-c", sleeper), "", "")):
    pass
"""
    argv = [sys.executable, "-u", "-c", script, str(version_dir)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([server], timeout=5)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_the_servers_lines_keep_their_severity(
    version_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tfserving_launcher.output")
    with (
        pytest.raises(ServerExited),
        ModelServer(version_dir, program=misbehaving("warns")),
    ):
        pass
    found = {record.levelname: record.message.partition(" ")[0] for record in caplog.records}
    assert found == {"WARNING": "2026-11-27", "ERROR": "E1127", "INFO": "2026-11-27"}


def test_missing_program_is_named(version_dir: Path) -> None:
    """A program that is not there is an error that names it."""
    with (
        pytest.raises(ProgramNotFound, match="/no/such/server"),
        ModelServer(version_dir, program=Program(("/no/such/server",), "a test", usage="")),
    ):
        pass


@pytest.mark.parametrize("name", ["latest", "1.0", "-1", "٣", str(2**63)])
def test_a_version_folder_must_have_a_number_for_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadVersionFolder, match="whole number"), ModelServer(tmp_path / name):
        pass


def test_an_empty_folder_is_not_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(NotASavedModel, match="empty or missing"), ModelServer(tmp_path / "1"):
        pass


def test_folder_of_other_things_names_its_content(tmp_path: Path) -> None:
    """A folder of other things is named with what is in it."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.h5").touch()
    with pytest.raises(NotASavedModel, match=r"only model\.h5"), ModelServer(tmp_path / "1"):
        pass


@pytest.mark.parametrize("name", ["d" * 100, "pc%41t"])
def test_folder_unfit_for_socket_is_not_used(
    name: str, version_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder that a socket cannot be in is not used."""
    deep = tmp_path / name
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    # The program prints its flags and ends, so they can be read from the error.
    echo = Program((sys.executable, "-c", "import sys; print(sys.argv)"), "a test", usage="")
    with pytest.raises(ServerExited) as caught, ModelServer(version_dir, program=echo):
        pass
    flags = caught.value.output
    socket_path = flags.partition("--grpc_socket_path=")[2].partition("'")[0]
    assert len(os.fsencode(socket_path)) < 108
    assert list(deep.iterdir()) == []
