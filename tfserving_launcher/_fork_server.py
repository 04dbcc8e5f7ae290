"""A process that forks Python model servers, for laptops and tests without the real program."""

import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
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
    on_end: Callable[[], object] | None = None,
) -> Iterator[Path]:
    """Runs a fork server while the block runs; gives the path of its socket at once.

    `environment` is that of the server and, before they have their own, of what it forks; None
    hands on this process's own. With `own_session_only` it serves nobody outside this process's
    session, to which no model server belongs: one that could ask it would get around its
    confinement. Calls `on_end` from another thread if it ends by itself.

    A launcher in whose environment TENSORFLOW_FORK_SERVER is that path has its Python model servers
    forked. The first of them waits until the fork server has imported TensorFlow.
    """
    owner = os.getpid()
    folder = tempfile.mkdtemp(prefix="tff-", dir=temporary_folder)
    path = Path(folder, "s")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            process = _start(listener, folder, environment, own_session_only=own_session_only)
        stopping = threading.Event()
        if on_end is not None:
            watch = partial(_watch, process, stopping, on_end)
            threading.Thread(target=watch, name="fork-server", daemon=True).start()
        try:
            logger.debug("process %d forks model servers for %s", process.pid, path)
            yield path
        finally:
            # A process that this one has forked may come here at its end, too.
            if os.getpid() == owner:
                stopping.set()
                _stop(process)
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _watch(
    process: "subprocess.Popen[bytes]", stopping: threading.Event, on_end: Callable[[], object]
) -> None:
    """Waits until the process closes its standard input, which it does at its end alone."""
    assert process.stdin is not None
    poll = select.poll()
    poll.register(process.stdin.fileno(), select.POLLERR)
    poll.poll()
    if not stopping.is_set():
        logger.critical("the process that forks model servers has ended")
        on_end()


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
