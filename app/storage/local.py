"""Local files."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.errors import (
    Aborted,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StorageFailed,
)
from app.storage.backend import WRITER_KEY, ContentType, Loaded, StoredFile, Wanted, Writer
from app.storage.local_folders import LOOK, Roots, files_below, pinned
from app.storage.local_notes import hidden, note_of, read_note, write_note
from app.storage.location import Location

_BLOCK_BYTES = 1024 * 1024
# Without O_NONBLOCK, opening a pipe that replaced a file would block.
_READ = os.O_RDONLY | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class LocalBackend:
    """Files below `roots`, or any if that is None. Paths are checked after resolving links.

    `check` is called while folders are listed; what it raises ends the listing.
    """

    def __init__(
        self, roots: tuple[Path, ...] | None, check: Callable[[], object] = lambda: None
    ) -> None:
        self._roots = Roots(roots)
        self._check = check

    def find(self, location: Location) -> StoredFile | None:
        with _os_errors_of(location):
            path = self._roots.resolved(location)
            try:
                with self._roots.opened(path, LOOK, location) as descriptor:
                    found = os.fstat(descriptor)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return _stored_file(location, path, found) if stat.S_ISREG(found.st_mode) else None

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        found = ((location, self.find(location)) for location in locations)
        return {location: file for location, file in found if file is not None}

    def list_below(
        self, folder: Location, name_prefix: str = "", wanted: Wanted | None = None
    ) -> list[StoredFile]:
        with _os_errors_of(folder):
            found = files_below(
                folder, self._roots, name_prefix=name_prefix, wanted=wanted, check=self._check
            )
            files = [
                _stored_file(
                    folder.below(file.name), Path(file.real_path), file.stat, links=file.links
                )
                for file in found
            ]
        return sorted(files, key=lambda file: file.location.path)

    def find_beginning(self, prefix: Location) -> list[StoredFile] | None:
        """None: local files cost no requests."""
        del prefix
        return None

    def list_folders(self, folder: Location) -> list[str]:
        with _os_errors_of(folder):
            path = self._roots.resolved(folder)
            try:
                with (
                    self._roots.opened(path, _FOLDER, folder) as descriptor,
                    os.scandir(pinned(descriptor, path)) as entries,
                ):
                    return sorted(entry.name for entry in entries if entry.is_dir())
            except FileNotFoundError:
                return []

    def read(self, file: StoredFile) -> Iterator[bytes]:
        with _os_errors_of(file.location), ExitStack() as stack:
            path = self._roots.resolved(file.location)
            descriptor = stack.enter_context(self._roots.opened(path, _READ, file.location))
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidArgument(f"{file.uri}: no regular file")
            _check_unchanged(file, descriptor)
            while block := os.read(descriptor, _BLOCK_BYTES):
                yield block
            _check_unchanged(file, descriptor)

    def load(self, location: Location) -> Loaded | None:
        with _os_errors_of(location):
            path = self._roots.resolved(location)
            try:
                with self._roots.opened(path, _READ, location) as descriptor:
                    found = os.fstat(descriptor)
                    if not stat.S_ISREG(found.st_mode):
                        raise InvalidArgument(f"{location}: no regular file")
                    content = _read_whole(descriptor)
            except (FileNotFoundError, NotADirectoryError):
                return None
        file = StoredFile(location, found.st_size, generation=found.st_mtime_ns)
        return Loaded(file, content)

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        with path.open("wb") as target:
            for block in self.read(file):
                check()
                target.write(block)

    def check_target(self, location: Location) -> None:
        """Reject names that would leave the output's folder: they may come from object names."""
        if any(part in (".", "..") or "\0" in part for part in location.path.split("/")):
            raise InvalidArgument(f"output: {str(location)!r} is no name for a local file")
        with _os_errors_of(location):
            if self._roots.resolved(location).is_dir():
                raise InvalidArgument(f"output: {location} is a folder, where a file must go")

    def check_source(self, location: Location) -> None:
        """Reject links that lead out of the roots."""
        self._roots.resolved(location)

    @contextmanager
    def create(
        self,
        location: Location,
        content: ContentType,
        replacing: StoredFile | None,
        writer_id: str,
        metadata: Mapping[str, str],
    ) -> Iterator[Writer]:
        del content  # the name alone tells what is in a file
        path = self._roots.resolved(location)
        with ExitStack() as stack:
            with _os_errors_of(location):
                folders_made: list[Path] = []
                stack.callback(_remove_empty, folders_made)
                folder = _open_folder(path.parent, self._roots, location, folders_made)
                stack.callback(os.close, folder)
                if writer_id:
                    metadata = {WRITER_KEY: writer_id, **metadata}
                part = _PartFile(
                    pinned(folder, path.parent) / path.name, location, replacing, metadata
                )
                part.open()
            stack.callback(part.remove_unless_finished)
            yield part

    def delete(self, file: StoredFile) -> None:
        with _os_errors_of(file.location), ExitStack() as stack:
            resolved = self._roots.resolved(file.location)
            opened = self._roots.opened(resolved.parent, _FOLDER, file.location)
            path = pinned(stack.enter_context(opened), resolved.parent) / resolved.name
            stack.enter_context(_alone_in(path.parent))
            if path.exists() and path.stat().st_mtime_ns == file.generation:
                path.unlink()
                note_of(path).unlink(missing_ok=True)


def _open_folder(path: Path, roots: Roots, location: Location, made: list[Path]) -> int:
    """Open the folder. Missing ones are created, and appended to `made`."""
    try:
        return roots.open(path, _FOLDER, location)
    except FileNotFoundError:
        above = _open_folder(path.parent, roots, location, made)
    try:
        new = pinned(above, path.parent) / path.name
        try:
            new.mkdir()
            made.append(path)
        except FileExistsError:
            pass  # another job has made it meanwhile
        except OSError as error:
            kind = PermissionDenied if isinstance(error, PermissionError) else InvalidArgument
            raise kind(f"output: the folder {path} cannot be made: {error.strerror}") from None
        return roots.open(new, _FOLDER, location)
    finally:
        os.close(above)


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders, innermost first, until one is not empty."""
    for folder in reversed(folders):
        try:
            folder.rmdir()
        except OSError:
            return


class _PartFile:
    """A file with a hidden name in the same folder until it is complete.

    The hidden name is derived from the final one, and the writer locks it. So a killed process's
    leftover is reused, and a second writer fails at once.
    """

    def __init__(
        self,
        path: Path,
        location: Location,
        replacing: StoredFile | None,
        metadata: Mapping[str, str],
    ) -> None:
        self._path = path
        self._part = hidden(path, "part")
        self._location = location
        self._replacing = replacing
        self._metadata = metadata
        self._finished = False

    def open(self) -> None:
        self._file = self._part.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise self._written_by_another() from None
        if not self._is_still_ours():
            # The previous lock holder finished, so the locked file is now the output.
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
                raise Aborted(
                    f"{self._location}: somebody else has written it while this job ran; call again"
                    " to go on from there"
                )
            self._make_newer_than(now)
            # Write the metadata first: an output without it would count as another program's file.
            noted = os.fstat(self._file.fileno())
            metadata = {**self._metadata, **metadata}
            write_note(self._path, noted, metadata)
            self._part.replace(self._path)
            self._finished = True
            self._file.close()
            try:
                written = self._path.stat()
            except FileNotFoundError:
                # Somebody has deleted it since. It was there, which is what counts.
                written = noted
            if written.st_mtime_ns != noted.st_mtime_ns:
                # Network file systems may change mtime on close.
                write_note(self._path, written, metadata)
            return _stored_file(self._location, self._path, written)

    def _make_newer_than(self, generation: int | None) -> None:
        """Clocks of file systems are coarse: two versions within a tick would look the same."""
        written = os.fstat(self._file.fileno())
        if generation is not None and written.st_mtime_ns <= generation:
            os.utime(self._file.fileno(), ns=(written.st_atime_ns, generation + 1))

    def remove_unless_finished(self) -> None:
        if self._finished:
            return
        if self._is_still_ours():
            self._part.unlink()
        self._file.close()

    def _written_by_another(self) -> Aborted:
        return Aborted(f"{self._location}: another job is writing it at this moment")

    def _is_still_ours(self) -> bool:
        try:
            return os.path.samestat(self._part.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


def _stored_file(
    location: Location, path: Path, found: os.stat_result, *, links: int = 0
) -> StoredFile:
    return StoredFile(
        location,
        found.st_size,
        generation=found.st_mtime_ns,
        metadata=read_note(path, found),
        real_path=str(path),
        links=links,
    )


def _read_whole(descriptor: int) -> bytes:
    blocks = []
    while block := os.read(descriptor, _BLOCK_BYTES):
        blocks.append(block)
    return b"".join(blocks)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock the folder against other jobs that publish files in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_unchanged(file: StoredFile, descriptor: int) -> None:
    found = os.fstat(descriptor)
    expected = file.size, file.generation or found.st_mtime_ns
    if (found.st_size, found.st_mtime_ns) != expected:
        raise Aborted(
            f"{file.uri}: changed since the job began, so what was read of it does not count"
        )


@contextmanager
def _os_errors_of(location: Location) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{location}: no such file") from None
    except PermissionError as error:
        raise PermissionDenied(f"{location}: {error.strerror}") from None
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise InvalidArgument(f"{location}: {error.strerror}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InvalidArgument(f"{location}: {error.strerror}") from None
        raise StorageFailed(f"{location}: {error.strerror or error}") from error
