"""A model server that a fork server forks for this process, without a program in between.

The fork server's protocol is in python_server/fork_parent.py.
"""

import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tfserving_launcher._confinement import FIRST_TO_BE_KILLED
from tfserving_launcher._errors import ServerExited
from tfserving_launcher._process import UNKNOWN_EXIT_CODE, ChildProcess
from tfserving_launcher._program import Program
from tfserving_launcher.python_server.limits import Limits

_FIRST_ANSWER_SECONDS = 60.0


def process_of(program: Program, argv: Sequence[str], **options: Any) -> ChildProcess:
    """The process of a model server. For `options` see ChildProcess."""
    if program.fork_server is None:
        return ChildProcess(argv, **options)
    return ForkedProcess(program.fork_server, argv[len(program.command) :], **options)


class ForkedProcess(ChildProcess):
    """As ChildProcess, but a child of the fork server, which kills it when this process ends."""

    def __init__(self, fork_server: Path, arguments: Sequence[str], **options: Any) -> None:
        super().__init__([str(fork_server), *arguments], **options)
        self._fork_server = fork_server
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._answers: IO[bytes] | None = None

    def _check_program(self) -> None:
        """Whether there is a fork server turns out when it is asked."""

    def _limit(self) -> None:
        """The fork server does it."""

    def _launch(self) -> None:
        try:
            self._connection.connect(str(self._fork_server))
        except OSError as error:
            self._connection.close()
            raise _gone(f"no fork server at {self._fork_server}: {error.strerror}") from None
        self._output, written = os.pipe()
        try:
            message = json.dumps(self._request()).encode() + b"\n"
            sent = socket.send_fds(self._connection, [message], [written, written])
            self._connection.sendall(message[sent:])
        except OSError as error:
            os.close(self._output)
            self._forget()
            raise _gone(
                f"the fork server at {self._fork_server} does not listen: {error.strerror}"
            ) from None
        finally:
            os.close(written)
        self._answers = self._connection.makefile("rb")
        # The first answer may have to wait until the fork server has imported TensorFlow.
        self._connection.settimeout(_FIRST_ANSWER_SECONDS)
        try:
            line = self._answers.readline()
        except TimeoutError:
            line = b""
        if not line:
            os.close(self._output)
            self._forget()
            raise _gone(
                f"the fork server at {self._fork_server} has ended, or did not answer within"
                f" {_FIRST_ANSWER_SECONDS:.0f} s"
            )
        self._connection.settimeout(None)
        self._pid = int(line)

    def _request(self) -> dict[str, Any]:
        folder = self._writable_folder
        limits = Limits(
            largest_file_bytes=self._largest_file_bytes,
            oom_score_adj=FIRST_TO_BE_KILLED,
            writable_folder=None if folder is None else str(folder),
        )
        environment = os.environ if self._environment is None else self._environment
        return {
            "arguments": self._argv[1:],
            "environment": dict(environment),
            "folder": str(Path.cwd()),
            "limits": asdict(limits),
        }

    def _await_exit(self) -> int:
        assert self._answers is not None
        try:
            line = self._answers.readline()
        except OSError:
            line = b""
        # The kernel kills all that the fork server has forked when that one ends.
        return int(line) if line else -signal.SIGKILL

    def _signal_group(self, number: signal.Signals) -> None:
        # The fork server knows whether its child is still there.
        with suppress(OSError):
            self._connection.sendall(bytes([number]))

    def _forget(self) -> None:
        if self._answers is not None:
            self._answers.close()
        self._connection.close()

    def _close_output(self) -> None:
        os.close(self._output)


def _gone(message: str) -> ServerExited:
    """The program is there, and whoever forks it may be again."""
    return ServerExited(UNKNOWN_EXIT_CODE, message, when="when it was to be forked")
