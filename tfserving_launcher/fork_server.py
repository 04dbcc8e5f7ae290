"""A process that forks Python model servers, for laptops and tests without the real program."""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfserving_launcher.errors import ServerExited, ServerTimeout
from tfserving_launcher.program import FORK_SERVER_VARIABLE

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.01

logger = logging.getLogger(__name__)


@contextmanager
def fork_server(*, temporary_folder: Path | None = None) -> Iterator[Path]:
    """Runs a fork server while the block runs; gives the path of its socket.

    A launcher in whose environment TENSORFLOW_FORK_SERVER is that path has its Python model servers
    forked. Raises ServerExited or ServerTimeout.
    """
    with tempfile.TemporaryDirectory(prefix="tff-", dir=temporary_folder) as folder:
        path = Path(folder, "s")
        argv = [sys.executable, "-m", "tfserving_launcher.python_server.fork_parent", str(path)]
        environment = {
            name: os.environ[name] for name in os.environ if name != FORK_SERVER_VARIABLE
        }
        # It ends when the pipe to it is closed, which also the kernel does.
        with subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment) as process:
            try:
                _await(path, process)
                logger.debug("fork server %d listens at %s", process.pid, path)
                yield path
            finally:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def _await(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not path.exists():
        if (exit_code := process.poll()) is not None:
            raise ServerExited(exit_code, "", when="before the fork server was ready")
        if time.monotonic() > deadline:
            raise ServerTimeout(f"the fork server was not ready within {_START_SECONDS:.0f} s")
        threading.Event().wait(_POLL_SECONDS)
