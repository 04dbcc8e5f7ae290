"""The manifest of a file list: the objects that it names, found before the job begins.

A list is a file of URIs, one on each line. The output depends on the list and on all objects that
it names, so each object is pinned to the generation that was found.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from app.concurrency.parallel import GoOn, run_all
from app.errors import (
    InvalidArgument,
    JobError,
    NotFound,
    PermissionDenied,
    UnsupportedInput,
    shortened,
)
from app.framing.gzipped import checked, unpacked
from app.framing.lines import read_lines, without_blank_lines
from app.storage import Location, Storage, StoredFile, parse_location

_PARALLEL_FINDS = 16
# The metadata of this many objects takes about 100 MB.
_MOST_FILES = 100_000
# The total size of names. Most have fewer than 100 bytes, the longest 1,024.
_MOST_BYTES = 16 * 1024 * 1024
# From this many objects in a folder, listing it is faster.
_WORTH_LISTING = 20
_LONGEST_LINE_BYTES = 16 * 1024


class NameBudget:
    """The names and bytes of names that the file lists of a job may still use."""

    def __init__(self) -> None:
        self._names = _MOST_FILES
        self._bytes = _MOST_BYTES

    def take(self, name: bytes, list_file: StoredFile) -> None:
        """Count one name. Raises UnsupportedInput beyond the limits."""
        self._names -= 1
        self._bytes -= len(name)
        if self._names < 0 or self._bytes < 0:
            raise UnsupportedInput(
                f"{list_file.uri}: a job may name {_MOST_FILES} objects in"
                f" {_MOST_BYTES // 2**20} MiB of names; make several jobs of it"
            )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a list by the text of their lines, or the errors."""

    files: dict[str, StoredFile]
    errors: dict[str, JobError]

    @classmethod
    def of(cls, files: Iterable[StoredFile], left: NameBudget) -> "Manifest":
        """One that names these files. Count one name. Raises UnsupportedInput beyond the limits."""
        named = {}
        for file in files:
            left.take(file.uri.encode(), file)
            named[file.uri] = file
        return cls(named, {})

    def found(self) -> list[StoredFile]:
        """All files in a stable order."""
        return [file for _, file in sorted(self.files.items())]


def read_manifest(
    list_file: StoredFile, storage: Storage, left: NameBudget, check: Callable[[], object]
) -> Manifest:
    """Look up the files of a list. A missing one is in neither mapping.

    Raises UnsupportedInput if the lists of a job are too long together, and what storage and
    `check` raise.
    """
    locations: dict[str, Location] = {}
    errors: dict[str, JobError] = {}
    for uri in _uris(list_file, storage, left, check):
        try:
            location = parse_location(uri, parameter="file list", relative=False)
            if location.is_folder:
                raise InvalidArgument(f"file list: {shortened(uri)} is a folder, not an object")  # noqa: TRY301  # a fault of the line like those that parsing finds
            storage.check_allowed(location)
        except (InvalidArgument, PermissionDenied) as error:
            errors[uri] = error
        else:
            locations[uri] = location
    search = _Search(storage)
    run_all(search.tasks(set(locations.values())), workers=_PARALLEL_FINDS, check=check)
    errors |= {uri: search.refused[one] for uri, one in locations.items() if one in search.refused}
    files = {uri: search.found[one] for uri, one in locations.items() if one in search.found}
    return Manifest(files, errors)


def _uris(
    list_file: StoredFile, storage: Storage, left: NameBudget, check: Callable[[], object]
) -> Iterator[str]:
    blocks = checked(unpacked(storage.read(list_file), file=list_file.uri), check)
    lines_of_file = read_lines(
        blocks, max_line_bytes=_LONGEST_LINE_BYTES, on_row_error=lambda _fault, _text: True
    )
    for lines in without_blank_lines(lines_of_file):
        for _, text in lines.rows():
            left.take(text, list_file)
            yield uri_of(text)


def uri_of(line: bytes) -> str:
    """The URI in a line of a list."""
    return line.decode(errors="replace").strip()


class _Search:
    """Looks up objects at many locations with as few requests as possible."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.found: dict[Location, StoredFile] = {}
        self.refused: dict[Location, JobError] = {}

    def tasks(self, locations: set[Location]) -> list[Callable[[GoOn], None]]:
        folders: dict[Location, list[Location]] = {}
        for location in locations:
            folders.setdefault(location.parent(), []).append(location)
        tasks: list[Callable[[GoOn], None]] = []
        for folder in folders.values():
            if len(folder) < _WORTH_LISTING or folder[0].scheme == "file":
                tasks.extend(partial(self._find, [location]) for location in folder)
            else:
                tasks.append(partial(self._find, folder))
        return tasks

    def _find(self, locations: list[Location], go_on: GoOn) -> None:
        go_on()
        try:
            if len(locations) == 1:
                file = self._storage.find(locations[0])
                self.found.update({} if file is None else {locations[0]: file})
            else:
                self.found.update(self._storage.find_all(locations))
        except PermissionDenied as error:
            self.refused.update(dict.fromkeys(locations, error))
        except NotFound:
            # The bucket does not exist, so each of its lines is a row error.
            return
