"""Which files the inputs of a job stand for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.errors import NotFound
from app.file_format import is_numbered_output
from app.job_spec import JobSpec
from app.storage import Location, Storage, StoredFile
from app.wildcards import Wildcards, fixed_part


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """One input file. `name` is what comes after the fixed folder of the input that it is of.

    `is_named` where the input is this very file.
    """

    file: StoredFile
    name: str
    is_named: bool


def select_files(spec: JobSpec, storage: Storage) -> list[SelectedFile]:
    """The files of all inputs in order of their URIs, each of them once.

    Raises NotFound for an input that matches nothing.
    """
    selected: dict[Location, SelectedFile] = {}
    for location in spec.inputs:
        folder = fixed_folder(location)
        for file in _find(location, folder, spec, storage):
            name = file.location.path.removeprefix(folder.path)
            one = SelectedFile(file, name, is_named=file.location == location)
            selected.setdefault(file.location, one)
    return sorted(selected.values(), key=lambda one: one.file.uri)


def fixed_folder(location: Location) -> Location:
    """The folder in which all that an input stands for is: without wildcards in its name."""
    fixed = replace(location, path=fixed_part(location.path))
    return fixed if fixed.is_folder else fixed.parent()


def _find(
    location: Location, folder: Location, spec: JobSpec, storage: Storage
) -> Iterable[StoredFile]:
    prefix = fixed_part(location.path)
    if prefix == location.path and not location.is_folder:
        return [_find_one(location, storage)]
    files = storage.list_below(folder, prefix.removeprefix(folder.path))
    if prefix != location.path:
        pattern = Wildcards(location.path + ("**" if location.is_folder else ""))
        files = [file for file in files if pattern.match(file.location.path)]
    # Or a second call would take the outputs of the first one for inputs.
    if spec.numbered_outputs:
        files = [file for file in files if not is_numbered_output(file.location.path)]
    elif spec.output.is_below(folder) and spec.output != folder:
        files = [file for file in files if not file.location.is_below(spec.output)]
    if not files:
        raise NotFound(
            f"input: nothing below {location}"
            if prefix == location.path
            else f"input: nothing matches {location}"
        )
    return files


def _find_one(location: Location, storage: Storage) -> StoredFile:
    file = storage.find(location)
    if file is None:
        hint = ""
        if storage.list_below(location.as_folder()):
            hint = f"; there are files below {location}/, which needs the closing slash"
        raise NotFound(f"input: no such object or file: {location}{hint}")
    return file
