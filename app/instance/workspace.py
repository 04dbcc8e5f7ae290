"""A temporary folder for each job, and the end of what dead jobs have left.

A process that is killed cannot clean up, and on Cloud Run what it leaves is memory. So every job
holds a lock on a file in its folder, which the kernel takes back from a dead process: a folder
whose lock is free is nobody's. Its model server dies with the process, but not what that may have
started; such processes are known by a variable that they have inherited. What a server leaves while
this process lives is known as a child of it.
Source: flock(2), proc_pid_environ(5).
"""

import fcntl
import logging
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.errors import ServerFailed
from tfserving_launcher import end_orphans, remove

# In the environment of a job's model server: the job's folder.
JOB_VARIABLE = "EMBEDDED_TF_JOB_FOLDER"

_PREFIX = "embedded-tf-job-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
_LOCK_FILE = ".embedded-tf-lock"

logger = logging.getLogger(__name__)


@contextmanager
def job_folder() -> Iterator[Path]:
    """A private folder below the system's temporary one, while the block runs.

    Raises ServerFailed where there is no room for it.
    """
    sweep()
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        if left := end_orphans():
            logger.error("processes that the job has left cannot be ended: %s", left)
        _remove(folder)
        os.close(lock)


def sweep() -> None:
    """Removes the folders of jobs whose process is dead, and ends what runs for them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _NAME.fullmatch(folder.name):
            continue
        try:
            # Left by a job that died before it had a lock; one that is just about to takes another.
            folder.rmdir()
            continue
        except OSError:
            pass  # not empty, as it should be
        try:
            lock = _lock(folder, os.O_RDWR)
        except OSError:
            continue  # a living job's, another user's, none of ours, or gone already
        logger.warning("removing %s, which a dead job has left", folder)
        _kill_what_runs_for(folder)
        _remove(folder)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            return folder, _lock(folder, os.O_RDWR | os.O_CREAT)
        except (BlockingIOError, FileNotFoundError):
            # Another job has swept it away before it was locked.
            logger.debug("a folder is gone before it was locked")
        except OSError as error:
            raise ServerFailed(
                f"no temporary folder can be made for the job: {error.strerror}"
            ) from None


def _lock(folder: Path, flags: int) -> int:
    """Raises OSError where there is no lock file, or where it is locked already."""
    path = folder / _LOCK_FILE
    with ExitStack() as stack:
        lock = os.open(path, flags | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Raises where the file that is locked now has been removed meanwhile.
        path.stat()
        stack.pop_all()
    return lock


def _remove(folder: Path) -> None:
    """The lock file last: a folder without one would be nobody's for ever."""
    try:
        for entry in folder.iterdir():
            if entry.name != _LOCK_FILE:
                remove(entry)
        remove(folder)
    except OSError as error:
        # A copy that was given up may still write into it; the next job sweeps what that leaves.
        logger.warning("%s could not be removed as a whole: %s", folder, error.strerror)


def _kill_what_runs_for(folder: Path) -> None:
    mark = f"{JOB_VARIABLE}={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            if mark in variables:
                logger.warning("killing process %s, which a dead job has left", process.name)
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # another user's, or gone already
