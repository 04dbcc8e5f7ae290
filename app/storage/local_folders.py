"""Local folders, checked after opening.

A path that was checked may lead elsewhere a moment later, when a folder is replaced by a link. A
descriptor keeps pointing to what was checked.
"""

import errno
import fcntl
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.errors import NotFound, PermissionDenied, UnsupportedInput
from app.storage.backend import Wanted
from app.storage.local_notes import HIDDEN_PREFIX
from app.storage.location import Location

# O_PATH needs no read permission. Other systems than Linux lack it.
LOOK = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
_F_GETPATH = 50  # of macOS: sys/fcntl.h
_LONGEST_PATH = 1024  # of macOS: sys/syslimits.h
# ext4 has it at the root of each volume, readable by root only.
_NO_DATA = "lost+found"
# Folders of links to each other have exponentially many names.
_MOST_LINKED_FOLDERS = 10_000


class Roots:
    """The folders below which local files may be used; None allows any."""

    def __init__(self, roots: tuple[Path, ...] | None) -> None:
        self._roots = (
            None if roots is None else tuple(Path(os.path.realpath(root)) for root in roots)
        )

    def resolved(self, location: Location) -> Path:
        """Resolve all links. Raises PermissionDenied."""
        # Unlike Path.resolve, this treats a cycle of links as a missing file.
        path = Path(os.path.realpath(location.path))
        self._judge(path, location)
        return path

    def open(self, path: Path, flags: int, location: Location) -> int:
        """Open `path`, check it, and return the descriptor. Raises PermissionDenied and OSError."""
        with ExitStack() as stack:
            descriptor = os.open(path, flags | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            if self._roots is not None:
                self._judge(_path_of(descriptor), location)
            stack.pop_all()
        return descriptor

    @contextmanager
    def opened(self, path: Path, flags: int, location: Location) -> Iterator[int]:
        """The same, closed at the end of the block."""
        descriptor = self.open(path, flags, location)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _judge(self, path: Path, location: Location) -> None:
        if self._roots is None or any(path.is_relative_to(root) for root in self._roots):
            return
        raise PermissionDenied(f"{location}: local files are allowed only below LOCAL_ROOTS")


def pinned(descriptor: int, path: Path) -> Path:
    """A path of the open folder that does not change when `path` does.

    Source: proc(5), /proc/self/fd. Returns `path` where that does not exist.
    """
    return Path(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else path


def _path_of(descriptor: int) -> Path:
    if sys.platform == "linux":
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    name = fcntl.fcntl(descriptor, _F_GETPATH, bytes(_LONGEST_PATH))
    return Path(os.fsdecode(name.partition(b"\0")[0]))


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A regular file: its relative `name`, and the number of links in that."""

    name: str
    stat: os.stat_result
    real_path: str
    links: int


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to list. `above` are the real paths of its parents."""

    name: str
    real_path: str
    links: int
    above: tuple[str, ...]


def files_below(
    folder: Location,
    roots: Roots,
    *,
    name_prefix: str,
    wanted: Wanted | None,
    check: Callable[[], object],
) -> Iterator[NamedFile]:
    """Yield regular files at any depth under all their names, through links to folders as well.

    A link to a parent is not followed. Folders that cannot hold a selected file are skipped, so
    they may be unreadable. Calls `check` for each folder. Raises NotFound for a selected dangling
    link, UnsupportedInput if links lead to too many folders, PermissionDenied and OSError.
    """
    root = roots.resolved(folder)
    if not root.is_dir():
        return
    waiting = deque([_Folder("", str(root), 0, ())])
    linked_folders = 0
    while waiting:
        here = waiting.popleft()
        check()
        linked_folders += here.links > 0
        if linked_folders > _MOST_LINKED_FOLDERS:
            raise UnsupportedInput(
                f"{folder}: links in it lead to more than {_MOST_LINKED_FOLDERS} folders; name the"
                " folder that holds the files"
            )
        for entry, name, real_path in _entries(here, folder, roots, wanted):
            links = here.links + entry.is_symlink()
            if entry.is_dir():
                above = (*here.above, here.real_path)
                if (
                    real_path not in above
                    and entry.name != _NO_DATA
                    and (wanted is None or wanted.passes(name + "/"))
                ):
                    waiting.append(_Folder(name + "/", real_path, links, above))
            elif name.startswith(name_prefix) and (wanted is None or wanted(name)):
                if entry.is_file():
                    _check_text(name)
                    yield NamedFile(name, entry.stat(), real_path, links)
                elif wanted and entry.is_symlink() and not os.path.lexists(real_path):
                    raise NotFound(
                        f"{folder}{name}: a link that leads nowhere: there is no {real_path}"
                    )


def _entries(
    here: _Folder, root: Location, roots: Roots, wanted: Wanted | None
) -> Iterator[tuple["os.DirEntry[str]", str, str]]:
    """The entries of a folder in order, each with its relative name and its real path.

    Empty if the folder is unreadable and cannot hold a selected file.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY
    location = root.below(here.name)
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(roots.opened(Path(here.real_path), flags, location))
        except (PermissionError, PermissionDenied) as error:
            if wanted is not None and here.name and not wanted.may_be_in(here.name):
                return
            if isinstance(error, PermissionDenied):
                raise
            raise PermissionDenied(f"{location}: permission denied") from None
        for entry in sorted(os.scandir(opened), key=lambda entry: entry.name):
            if not entry.name.startswith(HIDDEN_PREFIX) and not _is_circle(entry):
                real_path = os.path.join(here.real_path, entry.name)  # noqa: PTH118  # Path takes 20 times as long
                if entry.is_symlink():
                    real_path = os.path.realpath(real_path)
                yield entry, here.name + entry.name, real_path


def _is_circle(entry: "os.DirEntry[str]") -> bool:
    """Whether a link is part of a cycle."""
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return True
    return False


def _check_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsupportedInput(f"a file's name is not UTF-8 text: {name!r}") from None
