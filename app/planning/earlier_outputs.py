"""Finds what is in the places of a job's outputs, if possible before their names are known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.config.file_format import without_gzip_suffix
from app.config.job_spec import JobSpec
from app.planning.selection import fixed_folder
from app.planning.wildcards import fixed_part
from app.storage import Location, Storage, StoredFile, common_prefix


@dataclass(frozen=True, slots=True)
class EarlierOutputs:
    """The files whose locations begin with `beginning`; None if one request does not tell them."""

    beginning: Location
    files: Mapping[Location, StoredFile] | None

    def at(self, locations: Iterable[Location], storage: Storage) -> dict[Location, StoredFile]:
        """The files at these locations, which takes requests for those that are not known."""
        wanted = list(locations)
        if self.files is None or not all(self._covers(location) for location in wanted):
            return storage.find_all(wanted)
        for location in wanted:
            storage.check_allowed(location)
        return {location: self.files[location] for location in wanted if location in self.files}

    def _covers(self, location: Location) -> bool:
        return location.path.startswith(self.beginning.path)


def look_for_outputs(spec: JobSpec, storage: Storage) -> EarlierOutputs:
    """Ask for all outputs while the inputs are still looked up. Raises what storage raises."""
    beginning = _beginning(spec)
    files = storage.find_beginning(beginning)
    return EarlierOutputs(
        beginning, None if files is None else {file.location: file for file in files}
    )


def _beginning(spec: JobSpec) -> Location:
    """What the outputs' locations most likely begin with."""
    if spec.numbered_outputs or spec.input_format == "file":
        return spec.output
    names = [fixed_part(one.path).removeprefix(fixed_folder(one).path) for one in spec.inputs]
    return spec.output.below(common_prefix([without_gzip_suffix(name) for name in names]))
