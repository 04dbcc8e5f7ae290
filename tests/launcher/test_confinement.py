"""What a hostile program can do once the launcher has started it, on this very kernel."""

import ctypes
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tfserving_launcher import (
    ModelServer,
    Program,
    ServerExited,
    ServerTimeout,
    adopt_orphans,
    end_orphans,
    remove,
)
from tfserving_launcher._landlock import landlock_abi
from tfserving_launcher._linux import IS_LINUX, PR_SET_CHILD_SUBREAPER, prctl

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="only Linux confines programs")

# The version of Landlock that each needs; 0 where the filter of system calls does it.
ATTACKS = {
    "reads the service's environment": 1,
    "reads the master's environment": 1,
    "reads the service's memory": 1,
    "writes into the service's log": 1,
    "creates a file": 1,
    "creates a folder": 1,
    "creates a link": 1,
    "creates a socket": 1,
    "creates a pipe": 1,
    "moves a file out": 1,
    "moves a folder out": 1,
    "links a file out": 1,
    "writes over a file": 1,
    "truncates a file": 3,
    "removes a file": 1,
    "spares itself when memory is out": 1,
    "signals the service": 6,
    "signals the master": 6,
    "connects by TCP": 0,
    "sends by UDP": 0,
    "connects by multipath TCP": 0,
    "listens": 0,
    "connects to an abstract socket": 6,
    "writes a large file": 0,
}
HARMLESS = (
    "reads a file",
    "writes a file of its own",
    "writes in its home",
    "writes to a device",
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    # An abstract socket has its name too, which other processes of the tests see.
    folder = tmp_path / f"outside-{os.getpid()}"
    folder.mkdir()
    for name in ("kept", "shortened"):
        (folder / name).write_text("as it was")
    return folder


@pytest.fixture
def version_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "model" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


@pytest.fixture
def told(version_dir: Path, outside: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What came of each attack, after the server has ended."""
    adopt_orphans()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind(f"\0{outside.name}")
        abstract.listen()
        port = str(listener.getsockname()[1])
        command = (sys.executable, "-m", "tests.fakes.hostile_server", str(outside), port, "exits")
        with (
            pytest.raises(ServerExited) as caught,
            ModelServer(
                version_dir,
                program=Program(command, "a test", usage=""),
                temporary_folder=tmp_path,
                output_tail_bytes=1_000_000,
            ),
        ):
            pass
    yield json.loads(caught.value.output.partition("ATTACKS ")[2])
    end_orphans()
    prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_a_program_can_change_nothing_outside_its_folder(
    told: dict[str, Any], outside: Path
) -> None:
    """Neither files, nor the service that started it, nor the network; reading files stays."""
    abi = landlock_abi()
    held = {name: told[name] for name, needed in ATTACKS.items() if needed <= abi}
    assert "done" not in held.values(), held
    assert {name: told[name] for name in HARMLESS} == dict.fromkeys(HARMLESS, "done")
    if abi >= 3:
        assert sorted(path.name for path in outside.iterdir()) == ["kept", "shortened"]
        assert {path.read_text() for path in outside.iterdir()} == {"as it was"}


def test_a_program_can_gain_no_privileges_and_dies_first(told: dict[str, Any]) -> None:
    assert "NoNewPrivs:\t1" in told["status"]
    assert re.search(r"CapPrm:\t0+\n", told["status"])
    assert told["oom_score_adj"] == "1000"
    assert told["limits"] == [[0, 0]]


def test_home_and_tmpdir_go_with_the_server(told: dict[str, Any], tmp_path: Path) -> None:
    """Folders nested deeper than a path can tell, or closed to their owner, go as well."""
    for folder in map(Path, told["folders"]):
        assert folder.is_relative_to(tmp_path)
        assert not folder.exists()
    assert not list(tmp_path.glob("tfs-*"))


def test_a_daemon_without_a_mark_is_found_and_killed(told: dict[str, Any]) -> None:
    """It is in no group of ours, and neither its environment nor its parent tells where from."""
    daemon = psutil.Process(told["daemon"])
    assert daemon.environ() == {}
    assert end_orphans() == []
    assert not daemon.is_running()


def test_servers_and_other_children_are_no_orphans(version_dir: Path, zoo: ModelServer) -> None:
    """Neither running server's nor other children are orphans."""
    sleeper = (sys.executable, "-c", "import threading; threading.Event().wait()")
    child = psutil.Popen(["sleep", "1000"])

    def start() -> None:
        with (
            pytest.raises(ServerTimeout),
            ModelServer(version_dir, program=Program(sleeper, "", ""), start_timeout_seconds=1),
        ):
            pass

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert end_orphans() == []
        assert psutil.pid_exists(zoo.pid)
        assert zoo.signature_names()
        assert child.is_running()
    finally:
        thread.join()
        child.kill()
        child.wait()


def test_without_confinement_program_writes_anywhere(version_dir: Path, tmp_path: Path) -> None:
    """Without confinement a program may write anywhere."""
    script = (
        f"open({str(tmp_path / 'written')!r}, 'w'); import socket; socket.create_server(('', 0))"
    )
    program = Program((sys.executable, "-c", script), "a test", usage="")
    with (
        pytest.raises(ServerExited, match="exit status 0"),
        ModelServer(version_dir, program=program, confine=False),
    ):
        pass
    assert (tmp_path / "written").exists()


def test_only_starting_thread_is_confined(told: dict[str, Any], outside: Path) -> None:
    """Only the starting thread of this process is confined."""
    assert told["writes in its home"] == "done"
    (outside / "ours").write_text("ours")
    with socket.create_server(("127.0.0.1", 0)):
        pass
    assert "Seccomp:\t0" in Path("/proc/self/status").read_text()


@pytest.mark.parametrize("abi", range(1, 8))
def test_each_landlock_version_gets_its_rights(abi: int, tmp_path: Path) -> None:
    """A kernel that knows more takes what an older one would be given; 0 is the child's success."""
    if landlock_abi() < abi:
        pytest.skip(f"this kernel has Landlock ABI {landlock_abi()}, not {abi}")
    script = f"""
from pathlib import Path
from tfserving_launcher._landlock import restrict_writing
from tfserving_launcher._linux import PR_SET_NO_NEW_PRIVS, prctl
prctl(PR_SET_NO_NEW_PRIVS, 1)
restrict_writing(Path({str(tmp_path)!r}), {abi})
Path({str(tmp_path)!r}, "inside").write_text("x")
try:
    Path({str(ROOT)!r}, "outside").write_text("x")
except PermissionError:
    raise SystemExit(0)
raise SystemExit("it was written")
"""
    with psutil.Popen([sys.executable, "-c", script], cwd=ROOT) as child:
        assert child.wait(20) == 0
    assert (tmp_path / "inside").exists()


def test_removal_leaves_what_a_link_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "link").symlink_to(kept)
    (folder / "link").symlink_to(kept)
    remove(folder)
    remove(folder)
    assert not folder.exists()
    assert (kept / "file").read_text() == "x"


def test_failed_system_call_raises_os_error() -> None:
    """A system call that fails raises what the kernel says."""
    with pytest.raises(OSError, match=os.strerror(22)):
        prctl(99999, 0)
    assert ctypes.get_errno() == 22
