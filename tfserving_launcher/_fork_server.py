"""A process that forks Python model servers, for laptops and tests without the real program."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfserving_launcher._program import FORK_SERVER_VARIABLE

_STOP_SECONDS = 5.0
_BACKLOG = 128

logger = logging.getLogger(__name__)


@contextmanager
def fork_server(*, temporary_folder: Path | None = None) -> Iterator[Path]:
    """Runs a fork server while the block runs; gives the path of its socket at once.

    A launcher in whose environment TENSORFLOW_FORK_SERVER is that path has its Python model servers
    forked. The first of them waits until the fork server has imported TensorFlow.
    """
    with tempfile.TemporaryDirectory(prefix="tff-", dir=temporary_folder) as folder:
        path = Path(folder, "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            process = _start(listener, folder)
        try:
            logger.debug("process %d forks model servers for %s", process.pid, path)
            yield path
        finally:
            _stop(process)


def _start(listener: socket.socket, folder: str) -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in os.environ if name != FORK_SERVER_VARIABLE}
    environment["TMPDIR"] = folder  # what it writes goes with the socket
    module = "tfserving_launcher.python_server.fork_parent"
    return subprocess.Popen(
        [sys.executable, "-m", module, str(listener.fileno())],
        # It ends when this pipe is closed, which the kernel does too.
        stdin=subprocess.PIPE,
        env={"TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        pass_fds=(listener.fileno(),),
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
