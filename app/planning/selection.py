"""Selects the files that the inputs of a job match."""

from dataclasses import dataclass, replace
from functools import partial

from app.concurrency.parallel import all_in_order
from app.config.file_format import is_numbered_output
from app.config.job_spec import JobSpec
from app.errors import NotFound, UnsupportedInput
from app.planning.wildcards import Wildcards, fixed_part, is_hidden
from app.storage import Location, Storage, StoredFile

# Inputs that are looked up at once.
_WORKERS = 16


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """One input file. `name` is relative to the fixed folder of its input.

    `is_named` says that the input names exactly this file.
    """

    file: StoredFile
    name: str
    is_named: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The input files of a job in order of their URIs, without duplicates.

    `left_out` counts hidden files and placeholders.
    """

    files: list[SelectedFile]
    left_out: int


def select_files(spec: JobSpec, storage: Storage) -> Selection:
    """Select the files of all inputs. Raises NotFound for an input that matches nothing."""
    selected: dict[str, SelectedFile] = {}
    left_out: set[Location] = set()
    finds = [partial(_find, location, spec, storage, left_out) for location in spec.inputs]
    for location, found in zip(spec.inputs, all_in_order(finds, workers=_WORKERS), strict=True):
        folder = fixed_folder(location)
        for file in found:
            name = file.location.path.removeprefix(folder.path)
            one = SelectedFile(file, name, is_named=file.location == location)
            selected.setdefault(file.identity, one)
    files = sorted(selected.values(), key=lambda one: one.file.uri)
    return Selection(files, len({one.identity for one in left_out} - selected.keys()))


def fixed_folder(location: Location) -> Location:
    """The innermost folder of an input without wildcards in its path."""
    fixed = replace(location, path=fixed_part(location.path))
    return fixed if fixed.is_folder else fixed.parent()


def _find(
    location: Location, spec: JobSpec, storage: Storage, left_out: set[Location]
) -> list[StoredFile]:
    """The files that an input matches. Adds hidden files and placeholders to `left_out`."""
    folder = fixed_folder(location)
    prefix = fixed_part(location.path)
    if prefix == location.path and not location.is_folder:
        return [_find_one(location, storage)]
    wanted = _Wanted(location, folder, spec)
    listed = storage.list_below(folder, prefix.removeprefix(folder.path), wanted)
    placeholders = [file.location for file in listed if file.is_placeholder]
    left_out.update(wanted.hidden, placeholders)
    files = [file for file in listed if not file.is_placeholder]
    if not files:
        raise NotFound(
            f"input: nothing {'below' if prefix == location.path else 'matches'} {location}"
            + _but_hidden(wanted.hidden)
        )
    if named := next((file for file in files if file.location.is_folder), None):
        raise UnsupportedInput(
            f"{named.uri}: an object with content whose name ends in a slash; its output would have"
            " the name of a folder, so give it another name"
        )
    return _most_direct(files)


class _Wanted:
    """The Wanted of one input. Collects the hidden files that match in `hidden`."""

    def __init__(self, location: Location, folder: Location, spec: JobSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._pattern = None
        if fixed_part(location.path) != location.path:
            self._pattern = Wildcards(location.path + ("**" if location.is_folder else ""))
        self.hidden: set[Location] = set()

    def __call__(self, name: str) -> bool:
        location = self._folder.below(name)
        # Otherwise a second call would read the outputs of the first one.
        if self._spec.numbered_outputs:
            if is_numbered_output(location.path):
                return False
        elif (
            self._spec.output.is_below(self._folder)
            and self._spec.output != self._folder
            and location.is_below(self._spec.output)
        ):
            return False
        if self._pattern is None:
            takes, takes_hidden = not is_hidden(name), True
        else:
            takes = self._pattern.match(location.path)
            takes_hidden = not takes and self._pattern.match(location.path, hidden=True)
        if not takes and takes_hidden:
            self.hidden.add(location)
        return takes

    def may_be_in(self, folder: str) -> bool:
        if self._pattern is None:
            return not is_hidden(folder)
        return self._pattern.may_match_below(self._folder.below(folder).path)

    def passes(self, folder: str) -> bool:
        """Hidden folders included, because files left out there are counted."""
        if self._pattern is None:
            return True
        return self._pattern.may_match_below(self._folder.below(folder).path, hidden=True)


def _but_hidden(hidden: set[Location]) -> str:
    if not hidden:
        return ""
    return (
        f"; {len(hidden)} files whose names, or whose folders' names, begin with _ or . are left"
        f" out, such as {min(map(str, hidden))}: an input that names this beginning takes them"
    )


def _most_direct(files: list[StoredFile]) -> list[StoredFile]:
    """Keep one name for each file: the one with the fewest links, then the first."""
    chosen: dict[str, StoredFile] = {}
    for file in files:
        other = chosen.setdefault(file.identity, file)
        if (file.links, file.uri) < (other.links, other.uri):
            chosen[file.identity] = file
    return list(chosen.values())


def _find_one(location: Location, storage: Storage) -> StoredFile:
    file = storage.find(location)
    if file is None:
        hint = ""
        if storage.list_below(location.as_folder()):
            hint = f"; there are files below {location}/, which needs the closing slash"
        raise NotFound(f"input: no such object or file: {location}{hint}")
    return file
