"""Local files."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from app.errors import (
    BadParameter,
    Conflict,
    NotAllowed,
    NotFound,
    StorageFailed,
    UnsupportedInput,
)
from app.storage.backend import ContentType, StoredFile, Writer
from app.storage.local_notes import HIDDEN_PREFIX, hidden, note_of, read_note, write_note
from app.storage.location import Location

_BLOCK_BYTES = 1024 * 1024


class LocalBackend:
    """Files below `roots`; None allows any. Links are resolved before a path is judged."""

    def __init__(self, roots: tuple[Path, ...] | None) -> None:
        self._roots = (
            None if roots is None else tuple(Path(os.path.realpath(root)) for root in roots)
        )

    def find(self, location: Location) -> StoredFile | None:
        path = self._allowed(location)
        with _os_errors_of(location):
            return _stored_file(location, path) if path.is_file() else None

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        found = ((location, self.find(location)) for location in locations)
        return {location: file for location, file in found if file is not None}

    def list_below(self, folder: Location, name_prefix: str = "") -> list[StoredFile]:
        root = self._allowed(folder)
        files = []
        with _os_errors_of(folder):
            if not root.is_dir():
                return []
            for path in _files_below(root):
                name = _text_name(path.relative_to(root))
                if name.startswith(name_prefix):
                    files.append(_stored_file(folder.below(name), path))
        return sorted(files, key=lambda file: file.location.path)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        path = self._allowed(file.location)
        with _os_errors_of(file.location), path.open("rb", buffering=0) as source:
            _check_unchanged(file, source.fileno())
            while block := source.read(_BLOCK_BYTES):
                yield block
            _check_unchanged(file, source.fileno())

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        with path.open("wb") as target:
            for block in self.read(file):
                check()
                target.write(block)

    def check_target(self, location: Location) -> None:
        """A name that comes from an object must stay below the output's folder."""
        if any(part in (".", "..") or "\0" in part for part in location.path.split("/")):
            raise BadParameter(f"output: {str(location)!r} is no name for a local file")
        with _os_errors_of(location):
            if self._allowed(location).is_dir():
                raise BadParameter(f"output: {location} is a folder, where a file must go")

    def check_source(self, location: Location) -> None:
        """A link that is followed must not lead out of the roots."""
        self._allowed(location)

    @contextmanager
    def create(
        self, location: Location, content: ContentType, replacing: StoredFile | None, writer_id: str
    ) -> Iterator[Writer]:
        del content  # the name alone tells what is in a file
        del writer_id  # a rename either happens or does not: there is nothing to find again
        part = _PartFile(self._allowed(location), location, replacing)
        with _os_errors_of(location):
            part.open()
        try:
            yield part
        finally:
            part.remove_unless_finished()

    def delete(self, file: StoredFile) -> None:
        path = self._allowed(file.location)
        with _os_errors_of(file.location), _alone_in(path.parent):
            if path.exists() and path.stat().st_mtime_ns == file.generation:
                path.unlink()
                note_of(path).unlink(missing_ok=True)

    def _allowed(self, location: Location) -> Path:
        path = Path(location.path)
        if self._roots is None:
            return path
        # Unlike Path.resolve, this takes a circle of links for a file that is not there.
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(root) for root in self._roots):
            raise NotAllowed(f"{location}: local files are allowed only below LOCAL_ROOTS")
        return resolved


class _PartFile:
    """A file under a hidden name beside its place, until it is whole.

    The name follows from the place, and whoever writes it holds a lock on it: what a killed process
    has left is taken over, and a second writer is told of the first one at once.
    """

    def __init__(self, path: Path, location: Location, replacing: StoredFile | None) -> None:
        self._path = path
        self._part = hidden(path, "part")
        self._location = location
        self._replacing = replacing
        self._folders_made: list[Path] = []
        self._finished = False

    def open(self) -> None:
        for folder in reversed([self._path.parent, *self._path.parent.parents]):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                self._folders_made.append(folder)
        self._file = self._part.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise self._written_by_another() from None
        if not self._is_still_ours():
            # Whoever held the lock before has finished: what is locked now is the output itself.
            self._file.close()
            raise self._written_by_another()
        self._file.truncate(0)

    def write(self, data: bytes) -> None:
        with _os_errors_of(self._location):
            self._file.write(data)

    def finish(self, metadata: Mapping[str, str]) -> StoredFile:
        with _os_errors_of(self._location), _alone_in(self._path.parent):
            self._file.flush()
            now = self._path.stat().st_mtime_ns if self._path.exists() else None
            expected = None if self._replacing is None else self._replacing.generation
            if now != expected or not self._is_still_ours():
                raise Conflict(
                    f"{self._location}: somebody else has written it while this job ran; call again"
                    " to go on from there"
                )
            # What was noted about the old file must not be taken for the new one's.
            note_of(self._path).unlink(missing_ok=True)
            self._part.replace(self._path)
            self._finished = True
            self._file.close()
            write_note(self._path, metadata)
            return _stored_file(self._location, self._path)

    def remove_unless_finished(self) -> None:
        """Also the folders that were made for it, where nothing else has come into them."""
        if self._finished:
            return
        if self._is_still_ours():
            self._part.unlink()
        self._file.close()
        for folder in reversed(self._folders_made):
            if any(folder.iterdir()):
                break
            folder.rmdir()

    def _written_by_another(self) -> Conflict:
        return Conflict(f"{self._location}: another job is writing it at this moment")

    def _is_still_ours(self) -> bool:
        try:
            return os.path.samestat(self._part.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


def _stored_file(location: Location, path: Path) -> StoredFile:
    stat = path.stat()
    return StoredFile(
        location, stat.st_size, generation=stat.st_mtime_ns, metadata=read_note(path, stat)
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps other jobs from finishing a file in this folder meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_unchanged(file: StoredFile, descriptor: int) -> None:
    stat = os.fstat(descriptor)
    expected = file.size, file.generation or stat.st_mtime_ns
    if (stat.st_size, stat.st_mtime_ns) != expected:
        raise Conflict(
            f"{file.uri}: changed since the job began, so what was read of it does not count"
        )


def _files_below(root: Path) -> Iterator[Path]:
    """Regular files at any depth, through links to folders, but into no folder twice."""
    seen = set()
    for directory, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (
            path
            for name in names
            if not name.startswith(HIDDEN_PREFIX) and (path := Path(directory, name)).is_file()
        )


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
    except RecursionError:
        raise BadParameter(f"{location}: folders nested too deeply") from None
    except PermissionError as error:
        raise NotAllowed(f"{location}: {error.strerror}") from None
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise BadParameter(f"{location}: {error.strerror}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise BadParameter(f"{location}: {error.strerror}") from None
        raise StorageFailed(f"{location}: {error.strerror or error}") from error
