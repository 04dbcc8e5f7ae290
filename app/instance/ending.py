"""Restores a clean instance after each job."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from app.instance.private_folders import PrivateFolders
from tfserving_launcher import end_orphans

logger = logging.getLogger(__name__)


class Instance:
    """Cleans up between jobs.

    If that fails, calls `end`, so that the platform starts a new instance.
    """

    def __init__(self, folders: PrivateFolders, end: Callable[[], object]) -> None:
        self._folders = folders
        self._end = end

    def freshen(self, spared: Callable[[], Iterable[Path]] = tuple) -> bool:
        """Remove processes and files that a job left outside of its folder.

        Nothing at or below what `spared` returns is touched. Returns False if that failed, and the
        instance is about to end.
        """
        wrong = [f"process {pid} cannot be ended" for pid in end_orphans()]
        wrong += self._folders.clean(spared)
        if wrong:
            logger.critical(
                "this instance ends, for what a job has left in it: %s", "; ".join(wrong)
            )
            self._end()
        return not wrong
