"""The instance that runs one job after the other, each as if it were the first."""

import logging
from collections.abc import Callable

from app.instance.private_folders import PrivateFolders
from tfserving_launcher import end_orphans

logger = logging.getLogger(__name__)


class Instance:
    """`end` is called where it cannot be made fresh again, so that the platform starts another."""

    def __init__(self, folders: PrivateFolders, end: Callable[[], object]) -> None:
        self._folders = folders
        self._end = end

    def freshen(self) -> bool:
        """Removes what a job has left beside its own folder, processes first.

        Whether that was possible: False says that the instance is about to end.
        """
        wrong = [f"process {pid} cannot be ended" for pid in end_orphans()]
        wrong += self._folders.clean()
        if wrong:
            logger.critical(
                "this instance ends, for what a job has left in it: %s", "; ".join(wrong)
            )
            self._end()
        return not wrong
