"""The objects that a file list names, found before the job begins.

A list is a file of URIs, one on each line. What an output follows from is then not the list alone
but all that it names, and each of these is read as it was when it was found.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from app.errors import BadParameter, JobError, NotAllowed, UnsupportedInput
from app.formats.gzipped import unpacked
from app.lines import read_lines
from app.parallel import GoOn, run_all
from app.storage import Location, Storage, StoredFile, parse_location

_PARALLEL_FINDS = 16
# All that is known of as many objects takes about 100 MB.
_MOST_FILES = 100_000
# So many in one folder are found sooner by listing it.
_WORTH_LISTING = 20
_LONGEST_LINE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """What a list names, by the text of its lines: files, or why one cannot be had."""

    files: dict[str, StoredFile]
    faults: dict[str, JobError]

    def found(self) -> list[StoredFile]:
        """In an order that is always the same."""
        return [file for _, file in sorted(self.files.items())]


def find_listed(
    list_file: StoredFile, storage: Storage, check: Callable[[], object]
) -> ListedFiles:
    """Finds what the list names; a name that is nowhere is in neither mapping.

    Raises UnsupportedInput for a list that is too long, and what storage and `check` raise.
    """
    locations: dict[str, Location] = {}
    faults: dict[str, JobError] = {}
    for uri in _uris(list_file, storage):
        if len(locations) + len(faults) >= _MOST_FILES:
            raise UnsupportedInput(
                f"{list_file.uri}: a file list may name {_MOST_FILES} objects; make several of it"
            )
        try:
            location = parse_location(uri, parameter="file list", relative=False)
            storage.check_allowed(location)
        except (BadParameter, NotAllowed) as error:
            faults[uri] = error
        else:
            locations[uri] = location
    refused: dict[Location, JobError] = {}
    found = _find(set(locations.values()), storage, refused, check)
    faults |= {uri: refused[place] for uri, place in locations.items() if place in refused}
    files = {uri: found[location] for uri, location in locations.items() if location in found}
    return ListedFiles(files, faults)


def _uris(list_file: StoredFile, storage: Storage) -> Iterable[str]:
    blocks = unpacked(storage.read(list_file), file=list_file.uri)
    for lines in read_lines(
        blocks, max_line_bytes=_LONGEST_LINE_BYTES, on_fault=lambda _fault, _text: True
    ):
        yield from dict.fromkeys(uri_of(text) for _, text in lines.rows())


def uri_of(line: bytes) -> str:
    """What a line of a list names."""
    return line.decode(errors="replace").strip()


def _find(
    locations: set[Location],
    storage: Storage,
    refused: dict[Location, JobError],
    check: Callable[[], object],
) -> dict[Location, StoredFile]:
    found: dict[Location, StoredFile] = {}

    def find(one: Location, go_on: GoOn) -> None:
        go_on()
        try:
            file = storage.find(one)
        except NotAllowed as error:
            refused[one] = error
        else:
            if file is not None:
                found[one] = file

    def find_in(folder: list[Location], go_on: GoOn) -> None:
        go_on()
        found.update(storage.find_all(folder))

    folders: dict[Location, list[Location]] = {}
    for location in locations:
        folders.setdefault(location.parent(), []).append(location)
    tasks: list[Callable[[GoOn], None]] = []
    for folder in folders.values():
        if len(folder) < _WORTH_LISTING or folder[0].scheme == "file":
            tasks.extend(partial(find, location) for location in folder)
        else:
            tasks.append(partial(find_in, folder))
    run_all(tasks, workers=_PARALLEL_FINDS, check=check)
    return found
