"""A model server program that does what a hostile model may, and tells how it went.

    python -m tests.fakes.hostile_server FOLDER PORT FLAGS...

FOLDER is a place outside its own; it holds the files `kept` and `shortened`. Something listens on
PORT of the loopback address, and on the abstract unix socket of FOLDER's name. What came of each
attack is the JSON after `ATTACKS` in the output: `done`, or the name of the error. Then it becomes
the program that is found.
"""

import errno
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tfserving_launcher import find_program
from tfserving_launcher._program import PROGRAM_VARIABLE

FORGED = '{"severity":"INFO","message":"forged by a model"}'
_DEPTH = 1500


def main(outside: Path, port: int, flags: list[str]) -> int:
    if "--help" in flags:
        print("--model_base_path=''")
        return 255
    service = os.getppid()
    master = int(Path(f"/proc/{service}/stat").read_text().rpartition(")")[2].split()[1])
    own = Path(os.environ["TMPDIR"])
    (own / "mine").write_text("mine")
    (own / "folder").mkdir()
    attacks: dict[str, Callable[[], object]] = {
        "reads the service's environment": lambda: _read(f"/proc/{service}/environ"),
        "reads the master's environment": lambda: _read(f"/proc/{master}/environ"),
        "reads the service's memory": lambda: _read(f"/proc/{service}/mem", 0),
        "writes into the service's log": lambda: _write(f"/proc/{service}/fd/2"),
        "creates a file": lambda: _write(str(outside / "planted"), os.O_CREAT),
        "creates a folder": (outside / "planted.d").mkdir,
        "creates a link": lambda: (outside / "planted.l").symlink_to("/etc/passwd"),
        "creates a socket": lambda: _bind(str(outside / "planted.s")),
        "creates a pipe": lambda: os.mkfifo(outside / "planted.p"),
        "moves a file out": lambda: (own / "mine").rename(outside / "planted.m"),
        "moves a folder out": lambda: (own / "folder").rename(outside / "planted.f"),
        "links a file out": lambda: (outside / "planted.h").hardlink_to(own / "mine"),
        "writes over a file": lambda: _write(str(outside / "kept")),
        "truncates a file": lambda: os.truncate(outside / "shortened", 0),
        "removes a file": (outside / "kept").unlink,
        "spares itself when memory is out": lambda: _write("/proc/self/oom_score_adj", text="0"),
        "signals the service": lambda: os.kill(service, 0),
        "signals the master": lambda: os.kill(master, 0),
        "connects by TCP": lambda: socket.create_connection(("127.0.0.1", port), 5),
        "sends by UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "connects by multipath TCP": lambda: socket.socket(socket.AF_INET, proto=262),
        "listens": lambda: socket.create_server(("127.0.0.1", 0)),
        "connects to an abstract socket": lambda: _connect(f"\0{outside.name}"),
        "writes a large file": lambda: os.truncate(own / "mine", 2**40),
        "reads a file": lambda: _read("/etc/passwd"),
        "writes a file of its own": lambda: _write(str(own / "mine")),
        "writes in its home": lambda: (Path.home() / ".netrc").write_text("default login x"),
        "writes to a device": lambda: _write("/dev/null"),
    }
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    told: dict[str, object] = {name: _outcome(attack) for name, attack in attacks.items()}
    told["status"] = Path("/proc/self/status").read_text()
    told["oom_score_adj"] = Path("/proc/self/oom_score_adj").read_text().strip()
    told["limits"] = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE,)]
    told["folders"] = [os.environ["HOME"], os.environ["TMPDIR"]]
    told["daemon"] = _daemon()
    _hide(own)
    print("ATTACKS " + json.dumps(told), flush=True)
    if "exits" in flags:
        return 3
    program = find_program(
        {name: value for name, value in os.environ.items() if name != PROGRAM_VARIABLE}
    )
    return os.execvp(program.command[0], [*program.command, *flags])


def _outcome(attack: Callable[[], object]) -> str:
    try:
        attack()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _read(path: str, size: int = 10) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(size)


def _write(path: str, flags: int = 0, text: str = FORGED) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | flags)
    os.write(descriptor, f"{text}\n".encode())


def _bind(path: str) -> None:
    socket.socket(socket.AF_UNIX).bind(path)


def _connect(path: str) -> None:
    socket.socket(socket.AF_UNIX).connect(path)


def _daemon() -> int:
    """The number of a process that has left the session, its parent, and the environment."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child:
            os.write(writing, str(child).encode())
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for descriptor in (1, 2):
            os.close(descriptor)
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os.wait()
    return int(os.read(reading, 20))


def _hide(folder: Path) -> None:
    """Folders deeper than a path can tell, and closed to their owner."""
    os.chdir(folder)
    for _ in range(_DEPTH):
        Path("a").mkdir()
        os.chdir("a")
    os.chdir(folder)
    closed = folder / "closed"
    (closed / "in" / "side").mkdir(parents=True)
    (closed / "in").chmod(0)
    closed.chmod(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
