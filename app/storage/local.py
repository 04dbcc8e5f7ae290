"""Local files."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from app.errors import BadParameter, NotAllowed, NotFound, StorageFailed, UnsupportedInput
from app.storage.backend import StoredFile, Writer
from app.storage.location import Location

_BLOCK_BYTES = 1024 * 1024


class LocalBackend:
    """Files below `roots`; None allows any. Links are resolved before a path is judged."""

    def __init__(self, roots: tuple[Path, ...] | None) -> None:
        self._roots = None if roots is None else tuple(root.resolve() for root in roots)

    def find(self, location: Location) -> StoredFile | None:
        path = self._allowed(location)
        with _os_errors_of(location):
            return StoredFile(location, path.stat().st_size) if path.is_file() else None

    def list_below(self, folder: Location) -> list[StoredFile]:
        root = self._allowed(folder)
        files = []
        with _os_errors_of(folder):
            if not root.is_dir():
                return []
            for path in _files_below(root):
                location = folder.below(_text_name(path.relative_to(root)))
                files.append(StoredFile(location, path.stat().st_size))
        return sorted(files, key=lambda file: file.location.path)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        path = self._allowed(file.location)
        with _os_errors_of(file.location), path.open("rb", buffering=0) as source:
            while block := source.read(_BLOCK_BYTES):
                yield block

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        with path.open("wb") as target:
            for block in self.read(file):
                check()
                target.write(block)

    def check_target(self, location: Location) -> None:
        """A name that comes from an object must stay below the output's folder."""
        if any(part in (".", "..") or "\0" in part for part in location.path.split("/")):
            raise BadParameter(f"output: {str(location)!r} is no name for a local file")
        self._allowed(location)

    @contextmanager
    def create(self, location: Location) -> Iterator[Writer]:
        part = _PartFile(self._allowed(location), location)
        with _os_errors_of(location):
            part.open()
        try:
            yield part
        finally:
            part.remove_unless_finished()

    def _allowed(self, location: Location) -> Path:
        path = Path(location.path)
        if self._roots is None:
            return path
        resolved = path.resolve()
        if not any(resolved.is_relative_to(root) for root in self._roots):
            raise NotAllowed(f"{location}: local files are allowed only below LOCAL_ROOTS")
        return resolved


class _PartFile:
    """A file under a temporary name beside its place, until it is whole."""

    def __init__(self, path: Path, location: Location) -> None:
        self._path = path
        self._part = path.with_name(f".{secrets.token_hex(8)}.part")
        self._location = location
        self._folders_made: list[Path] = []
        self._finished = False

    def open(self) -> None:
        for folder in reversed([self._path.parent, *self._path.parent.parents]):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                self._folders_made.append(folder)
        self._file = self._part.open("wb")

    def write(self, data: bytes) -> None:
        with _os_errors_of(self._location):
            self._file.write(data)

    def finish(self) -> None:
        with _os_errors_of(self._location):
            self._file.close()
            self._part.replace(self._path)
        self._finished = True

    def remove_unless_finished(self) -> None:
        """Also the folders that were made for it, where nothing else has come into them."""
        if self._finished:
            return
        self._file.close()
        self._part.unlink(missing_ok=True)
        for folder in reversed(self._folders_made):
            if any(folder.iterdir()):
                break
            folder.rmdir()


def _files_below(root: Path) -> Iterator[Path]:
    """Regular files at any depth, through links to folders, but into no folder twice."""
    seen = set()
    for directory, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (path for name in names if (path := Path(directory, name)).is_file())


def _text_name(path: Path) -> str:
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsupportedInput(f"a file's name is not UTF-8 text: {name!r}") from None
    return name


def _raise(error: OSError) -> NoReturn:
    raise error


@contextmanager
def _os_errors_of(location: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{location}: no such file") from None
    except PermissionError as error:
        raise NotAllowed(f"{location}: {error.strerror}") from None
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise BadParameter(f"{location}: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadParameter(f"{location}: {error.strerror}") from None
        raise StorageFailed(f"{location}: {error.strerror or error}") from error
