"""A process that forks Python model servers, for laptops and tests without the real program."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tfserving_launcher._program import FORK_SERVER_VARIABLE

_STOP_SECONDS = 5.0
_BACKLOG = 128

logger = logging.getLogger(__name__)


@contextmanager
def fork_server(
    *,
    temporary_folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    own_session_only: bool = False,
) -> Iterator[Path]:
    """Runs a fork server while the block runs; gives the path of its socket at once.

    `environment` is that of the server and, before they have their own, of what it forks; None
    hands on this process's own. With `own_session_only` it serves nobody outside this process's
    session, to which no model server belongs: one that could ask it would get around its
    confinement.

    A launcher in whose environment TENSORFLOW_FORK_SERVER is that path has its Python model servers
    forked. The first of them waits until the fork server has imported TensorFlow.
    """
    with tempfile.TemporaryDirectory(prefix="tff-", dir=temporary_folder) as folder:
        path = Path(folder, "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            process = _start(listener, folder, environment, own_session_only=own_session_only)
        try:
            logger.debug("process %d forks model servers for %s", process.pid, path)
            yield path
        finally:
            _stop(process)


def _start(
    listener: socket.socket,
    folder: str,
    environment: Mapping[str, str] | None,
    *,
    own_session_only: bool,
) -> "subprocess.Popen[bytes]":
    given = dict(os.environ if environment is None else environment)
    given.pop(FORK_SERVER_VARIABLE, None)
    module = "tfserving_launcher.python_server.fork_parent"
    arguments = [str(listener.fileno()), *(["own-session-only"] if own_session_only else [])]
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        # It ends when this pipe is closed, which the kernel does too.
        stdin=subprocess.PIPE,
        # What it writes goes with the socket.
        env={"TF_CPP_MIN_LOG_LEVEL": "2", **given, "TMPDIR": folder},
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
