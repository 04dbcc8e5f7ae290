"""Processes that model servers have left: out of their process group, with no parent any more.

The kernel hands an orphan to the nearest ancestor that has asked for them. A server runs in a
session of its own, and no process of it can come back into ours: so a child in another session
that is no server of ours was left by one. Source: PR_SET_CHILD_SUBREAPER in prctl(2), setsid(2),
proc_pid_stat(5).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfserving_launcher._linux import (
    IS_LINUX,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    prctl,
)
from tfserving_launcher._process import running_servers, starting

_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.002

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    session: int


def adopt_orphans() -> None:
    """Has this process become the parent of what its descendants leave. Only on Linux."""
    if IS_LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def protect_this_process() -> None:
    """Closes this process to the models that it runs, and has it adopt what they leave.

    Its memory, environment and descriptors are closed to other processes of its user. What it forks
    is closed as well; a program that it executes is not. Only on Linux. Source: PR_SET_DUMPABLE in
    prctl(2), proc_pid_environ(5).
    """
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 0)
        adopt_orphans()


def end_orphans() -> list[int]:
    """Kills what model servers have left, and what that has started; gives what is still there.

    Servers that run are left alone. For a process that has called `adopt_orphans`, and that starts
    nothing but model servers in sessions of their own.
    """
    if not IS_LINUX:
        return []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    told: set[int] = set()
    while left := _orphans():
        for process in left:
            if process.pid not in told:
                logger.warning("killing process %d, which a model server has left", process.pid)
                told.add(process.pid)
            _end(process)
        if time.monotonic() > deadline:
            return [process.pid for process in _orphans()]
        threading.Event().wait(_POLL_SECONDS)
    return []


def _orphans() -> list[_Process]:
    """Those that are children of ours, and all below them."""
    if not _has_children():
        return []
    own, own_session = os.getpid(), os.getsid(0)
    children: dict[int, list[_Process]] = {}
    with starting:
        for process in _processes():
            children.setdefault(process.parent, []).append(process)
        servers = set(running_servers)
    found = [
        process
        for process in children.get(own, [])
        if process.session != own_session and process.pid not in servers
    ]
    for process in found:  # which grows meanwhile
        found.extend(children.get(process.pid, []))
    return found


def _has_children() -> bool:
    """Asks for one, which costs less than to read all of /proc."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _end(process: _Process) -> None:
    try:
        os.kill(process.pid, signal.SIGKILL)
        if process.parent == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended, and somebody else has taken note
    except PermissionError:
        logger.warning("process %d belongs to another user", process.pid)


def _processes() -> Iterator[_Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue  # it has just ended
        # The name, in brackets, may hold anything. After it: state, parent, group, session.
        _, parent, _, session = text.rpartition(")")[2].split()[:4]
        yield _Process(int(folder.name), int(parent), int(session))
