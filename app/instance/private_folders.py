"""Folders of this instance alone: files that a model leaves there are removed after its job."""

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tfserving_launcher import remove

_SHOWN_NAMES = 10

logger = logging.getLogger(__name__)

# The identity of an unchanged entry: mode, owner, inode, and the size and times of a file. A
# folder's times change with its content.
_Mark = tuple[int, ...]


class PrivateFolders:
    """A snapshot of `folders` and everything below them.

    Nothing at or below `spared` is touched.
    """

    def __init__(self, folders: tuple[Path, ...] = (), spared: tuple[Path, ...] = ()) -> None:
        self._folders = tuple({folder.resolve(): None for folder in folders if folder.is_dir()})
        self._spared = tuple(folder.resolve() for folder in spared)
        self._before: dict[Path, _Mark] = dict(self._walk())

    def clean(self, spared: Callable[[], Iterable[Path]] = tuple) -> list[str]:
        """Remove new entries but those that `spared` returns, and what is below or above them.

        It is called once the new entries are known, so that a folder that is made meanwhile stays.

        Returns messages about entries that could not be removed or have changed.
        """
        wrong: list[str] = []
        new: list[Path] = []
        seen = set()
        for path, mark in self._walk():
            seen.add(path)
            if path not in self._before:
                new.append(path)
            elif self._before[path] != mark:
                wrong.append(f"{path} was changed")
        wrong += [f"{path} was removed" for path in self._before if path not in seen]
        living = [folder.resolve() for folder in spared()]
        new = [path for path in new if not any(_are_in_line(path, one) for one in living)]
        wrong += [f"{path} cannot be removed" for path in new if not _is_removed(path)]
        if new:
            names = ", ".join(str(path) for path in new[:_SHOWN_NAMES])
            logger.warning("a job left %d files or folders: %s", len(new), names)
        return wrong

    def _walk(self) -> Iterator[tuple[Path, _Mark]]:
        """Yield all entries; of a new folder only the folder itself."""
        spared = self._spared
        waiting = list(self._folders)
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError as error:
                logger.warning("%s cannot be read: %s", folder, error.strerror)
                continue
            for entry in entries:
                path = Path(entry.path)
                if any(path.is_relative_to(one) for one in spared):
                    continue
                status = entry.stat(follow_symlinks=False)
                leads_to_spared = any(one.is_relative_to(path) for one in spared)
                if not leads_to_spared:
                    yield path, _mark(status)
                if stat.S_ISDIR(status.st_mode) and (leads_to_spared or self._was_there(path)):
                    waiting.append(path)

    def _was_there(self, path: Path) -> bool:
        return not hasattr(self, "_before") or path in self._before


def _are_in_line(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _mark(status: os.stat_result) -> _Mark:
    identity = (status.st_mode, status.st_uid, status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        return identity
    return (*identity, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_removed(path: Path) -> bool:
    try:
        remove(path)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error.strerror)
        return False
    return True
