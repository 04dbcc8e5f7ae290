"""A child process in a session of its own: started, listened to, stopped with its whole group."""

import contextvars
import logging
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tfserving_launcher._confinement import Confinement, confine_this_thread, limit, tell_once
from tfserving_launcher._errors import ProgramNotFound, ServerExited
from tfserving_launcher._memory import OutOfMemoryKills, out_of_memory_kills

_READ_BYTES = 64 * 1024
_LONGEST_LINE_BYTES = 4 * 1024
_KILL_WAIT_SECONDS = 10.0
_DRAIN_WAIT_SECONDS = 1.0
UNKNOWN_EXIT_CODE = 255

# The children of this process that are meant to live.
running_servers: set[int] = set()
# Held while one is started, until it is among them.
starting = threading.Lock()

# TensorFlow's own lines begin with a time and a letter, those of Abseil with a letter and a day:
# xla/tsl/platform/default/logging.cc, absl/log/internal/log_format.cc.
_SEVERITY = re.compile(
    r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: (?P<date>[IWEF]) |(?P<day>[IWEF])\d{4} \d\d:\d\d:)"
)
_LEVELS = {
    "I": logging.INFO,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}

logger = logging.getLogger(__name__)
output_logger = logging.getLogger("tfserving_launcher.output")


class ChildProcess:
    """Runs `argv` between enter and exit; at exit nothing of its process group is left.

    `exited` is set as soon as the child has ended, for whoever waits for something of it.
    Standard output and standard error go, line by line, to the logger `tfserving_launcher.output`,
    and their last `tail_bytes` are kept. With a `writable_folder` the child is confined to it, and
    `largest_file_bytes` bounds its files. Raises ProgramNotFound where `argv[0]` cannot be run, and
    ConfinementFailed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stop_grace_seconds: float = 2.0,
        tail_bytes: int = 16 * 1024,
        writable_folder: Path | None = None,
        largest_file_bytes: int = resource.RLIM_INFINITY,
    ) -> None:
        self.exited = threading.Event()
        self._argv = list(argv)
        self._environment = environment
        self._stop_grace_seconds = stop_grace_seconds
        self._tail = _Tail(tail_bytes)
        self._writable_folder = writable_folder
        self._largest_file_bytes = largest_file_bytes
        self._popen: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._output = -1
        self._exit_code: int | None = None
        self._kills_before: OutOfMemoryKills | None = None
        self._drainer: threading.Thread | None = None

    def __enter__(self) -> Self:
        logger.debug("starting %s", shlex.join(self._argv))
        self._check_program()
        self._kills_before = out_of_memory_kills()
        launched: Future[Confinement | None] = Future()
        self._start_thread("keeper", partial(self._launch_and_await, launched))
        try:
            tell_once(launched.result())
        except OSError as error:
            raise ProgramNotFound(
                f"the model server program {self._argv[0]} cannot be run: {error.strerror}"
            ) from None
        try:
            self._limit()
            self._drainer = self._start_thread("drain", self._drain)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        return self._pid

    def exit_code(self) -> int | None:
        """As in `subprocess.Popen.returncode`; None while the child runs."""
        return self._exit_code

    def exit_error(self, when: str) -> ServerExited:
        """The end of the child as an error, once it has ended."""
        assert self._exit_code is not None
        return ServerExited(
            self._exit_code, self.tail(), when=when, out_of_memory=self._killed_for_memory()
        )

    def _killed_for_memory(self) -> OutOfMemoryKills | None:
        if self._exit_code != -signal.SIGKILL or self._kills_before is None:
            return None
        kills = out_of_memory_kills()
        return kills if kills is not None and kills.count > self._kills_before.count else None

    def tail(self) -> str:
        """The last output, complete if the child has ended."""
        if self.exited.is_set() and self._drainer is not None:
            self._drainer.join(_DRAIN_WAIT_SECONDS)
        return self._tail.text()

    def _launch_and_await(self, launched: "Future[Confinement | None]") -> None:
        """What a thread of its own does: it is confined as the child is, and ends after it."""
        folder = self._writable_folder
        try:
            confinement = None if folder is None else confine_this_thread(folder)
            self._launch()
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits for it
            launched.set_exception(error)
            return
        launched.set_result(confinement)
        self._exit_code = self._await_exit()
        self.exited.set()

    def _check_program(self) -> None:
        _dies_with_this_thread()
        if shutil.which(self._argv[0]) is None:
            raise ProgramNotFound(
                f"the model server program {self._argv[0]} cannot be run: there is no such program"
            )

    def _limit(self) -> None:
        limit(self.pid, self._largest_file_bytes)

    def _launch(self) -> None:
        """Sets `_pid`, and `_output` to the descriptor of what the child prints."""
        with starting:
            self._popen = subprocess.Popen(
                [*_dies_with_this_thread(), *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            assert self._popen.stdout is not None
            self._pid, self._output = self._popen.pid, self._popen.stdout.fileno()
            running_servers.add(self.pid)

    def _start_thread(self, name: str, target: object) -> threading.Thread:
        # The thread's log records belong to the job that started it.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(target,), name=f"model-server-{name}", daemon=True
        )
        thread.start()
        return thread

    def _await_exit(self) -> int:
        # WNOWAIT leaves the child a zombie, which keeps its process group's number taken
        # until the rest of the group has been killed.
        try:
            end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            # Where SIGCHLD is ignored the kernel keeps no status; the wait itself is over.
            end = None
        if end is None:
            return UNKNOWN_EXIT_CODE
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def _drain(self) -> None:
        pending = b""
        while block := os.read(self._output, _READ_BYTES):
            self._tail.add(block)
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                _log_line(line)
            if len(pending) > _LONGEST_LINE_BYTES:
                _log_line(pending)
                pending = b""
        if pending:
            _log_line(pending)

    def _stop(self) -> None:
        started = time.monotonic()
        if not self.exited.is_set():
            self._signal_group(signal.SIGTERM)
            if not self.exited.wait(self._stop_grace_seconds):
                logger.warning(
                    "the model server ignored SIGTERM for %.1f s and is killed",
                    self._stop_grace_seconds,
                )
        # Also when the child itself has ended: it may have left children in its group.
        self._signal_group(signal.SIGKILL)
        self.exited.wait(_KILL_WAIT_SECONDS)
        self._forget()
        if self._drainer is not None:
            self._drainer.join(_DRAIN_WAIT_SECONDS)
            if self._drainer.is_alive():
                logger.warning("something outside its process group holds the server's output")
                return
        self._close_output()
        logger.debug("model server stopped in %.3f s", time.monotonic() - started)

    def _forget(self) -> None:
        """Free the child's number."""
        assert self._popen is not None
        self._popen.wait(_KILL_WAIT_SECONDS)
        running_servers.discard(self.pid)

    def _close_output(self) -> None:
        assert self._popen is not None
        assert self._popen.stdout is not None
        self._popen.stdout.close()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # the group is gone, which is what the signal was for
        except PermissionError:
            # macOS says so of a group in which only zombies are left.
            logger.debug("process group %d cannot be signalled", self.pid)


@cache
def _dies_with_this_thread() -> list[str]:
    """A command that has the kernel kill what it becomes when the thread that started it ends.

    Nobody else is left to do so when this process is killed itself. Source: setpriv(1), of
    util-linux, and PR_SET_PDEATHSIG in prctl(2).
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    command = [setpriv, "--pdeathsig", "KILL", "--"]
    # Some programs of that name do not know the option.
    probe = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if probe.returncode == 0 else []


class _Tail:
    """The last bytes of a stream, in whole blocks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, block: bytes) -> None:
        with self._lock:
            self._blocks.append(block[-self._limit :])
            self._size += len(self._blocks[-1])
            while self._size - len(self._blocks[0]) >= self._limit:
                self._size -= len(self._blocks.popleft())

    def text(self) -> str:
        with self._lock:
            return b"".join(self._blocks)[-self._limit :].decode(errors="replace")


def _log_line(line: bytes) -> None:
    text = line[:_LONGEST_LINE_BYTES].decode(errors="replace").rstrip()
    if text:
        match = _SEVERITY.match(text)
        level = logging.INFO if match is None else _LEVELS[match["date"] or match["day"]]
        output_logger.log(level, "%s", text)
