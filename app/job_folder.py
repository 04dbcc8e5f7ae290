"""A temporary folder for each job, and the end of those that dead jobs have left.

A process that is killed cannot clean up, and on Cloud Run what it leaves is memory. So every job
holds a lock on its folder, which the kernel takes back from a dead process: what is not locked is
nobody's. Source: flock(2).
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.errors import ServerFailed

_PREFIX = "embedded-tf-"

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
        # A copy that was given up may still write into it; the next job sweeps what that leaves.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Removes the folders of jobs whose process is dead."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = _lock(folder)
        except OSError:
            continue  # a living job's, another user's, or gone already
        logger.warning("removing %s, which a dead job has left", folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise ServerFailed(
                f"no temporary folder can be made for the job: {error.strerror}"
            ) from None
        try:
            return folder, _lock(folder)
        except OSError:
            # Another job has swept it away before it was locked.
            logger.debug("%s is gone", folder)


def _lock(folder: Path) -> int:
    """Raises OSError where the folder is gone, or locked already."""
    with ExitStack() as stack:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Raises where the folder that is locked now has been removed meanwhile.
        folder.stat()
        stack.pop_all()
    return lock
