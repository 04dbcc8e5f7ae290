"""Removes what a program has left that may have tried to make that hard."""

import os
import stat
import uuid
from collections import deque
from pathlib import Path


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with all that is in it; what is not there is removed.

    Folders may be nested deeper than any path can tell, and closed to their owner. Raises OSError
    where something stays.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        folder = _open_folder(path)
        try:
            _empty(folder)
        finally:
            os.close(folder)
        path.rmdir()
    except FileNotFoundError:
        return


def _empty(root: int) -> None:
    """Each folder found further down is moved up to `root`, so that no path is too long."""
    prefix = uuid.uuid4().hex
    names = deque(os.listdir(root))
    moved = 0
    while names:
        name = names.popleft()
        if not _is_folder(name, root):
            os.unlink(name, dir_fd=root)
            continue
        folder = _open_folder(name, root)
        try:
            for inner in os.listdir(folder):  # noqa: PTH208  # of a descriptor
                if _is_folder(inner, folder):
                    # A folder that its owner may not write to cannot be moved.
                    os.chmod(inner, stat.S_IRWXU, dir_fd=folder)
                    moved += 1
                    names.append(f"{prefix}-{moved}")
                    os.rename(inner, names[-1], src_dir_fd=folder, dst_dir_fd=root)
                else:
                    os.unlink(inner, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=root)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _open_folder(path: Path | str, parent: int | None = None) -> int:
    os.chmod(path, stat.S_IRWXU, dir_fd=parent)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
