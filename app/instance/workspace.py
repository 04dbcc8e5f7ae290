"""Temporary folders of jobs, and the clean-up after dead ones.

A killed process cannot clean up, and on Cloud Run its files take memory. So each job locks a file
in its folder. The kernel releases the lock when the process dies, and a folder with a free lock is
removed. The model server dies with the process. Its children do not, but they inherit a variable
that identifies them.
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

# Environment variable of the model server: the job's folder.
JOB_VARIABLE = "EMBEDDED_TF_JOB_FOLDER"

_PREFIX = "embedded-tf-job-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
_LOCK_FILE = ".embedded-tf-lock"

logger = logging.getLogger(__name__)


@contextmanager
def job_folder() -> Iterator[Path]:
    """Create a private temporary folder for the block.

    Raises ServerFailed if the disk is full.
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
    """Remove the folders of dead jobs, and end their processes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _NAME.fullmatch(folder.name):
            continue
        try:
            # The job died before it had a lock. A job that is about to lock tries another name.
            folder.rmdir()
            continue
        except OSError:
            pass  # not empty, as expected
        try:
            lock = _lock(folder, os.O_RDWR)
        except OSError:
            continue  # of a running job, of another user, not ours, or already gone
        logger.warning("removing %s, which a dead job has left", folder)
        _kill_what_runs_for(folder)
        _remove(folder)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise _no_folder(error) from None
        try:
            return folder, _lock(folder, os.O_RDWR | os.O_CREAT)
        except (BlockingIOError, FileNotFoundError):
            # Another job removed it before it was locked.
            logger.debug("a folder is gone before it was locked")
        except OSError as error:
            raise _no_folder(error) from None


def _no_folder(error: OSError) -> ServerFailed:
    return ServerFailed(f"no temporary folder can be made for the job: {error.strerror}")


def _lock(folder: Path, flags: int) -> int:
    """Lock the folder. Raises OSError if there is no lock file, or if it is locked."""
    path = folder / _LOCK_FILE
    with ExitStack() as stack:
        lock = os.open(path, flags | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Raises if the locked file was removed meanwhile.
        path.stat()
        stack.pop_all()
    return lock


def _remove(folder: Path) -> None:
    """Remove the folder, the lock file last: a folder without one would never be removed."""
    try:
        for entry in folder.iterdir():
            if entry.name != _LOCK_FILE:
                remove(entry)
        remove(folder)
    except OSError as error:
        # An abandoned download may still write here. The next job removes that.
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
            continue  # of another user, or already gone
