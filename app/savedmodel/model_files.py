"""The files of one version of a model, and what their names and sizes tell of them."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.storage import Location, StoredFile

SAVED_MODEL_PB = "saved_model.pb"
SAVED_MODEL_FILES = (SAVED_MODEL_PB, "saved_model.pbtxt")
INDEX = "variables/variables.index"

_SHARD = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})", re.ASCII)
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One version of a model as it lies in storage; `folder` holds `saved_model.pb`.

    `older` is the folder of the next lower version that is whole as far as its names tell, None
    where there is none. `versions` are all numbered folders, the highest first.
    """

    folder: Location
    version: str
    files: list[StoredFile]
    older: Location | None = None
    versions: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files; a local one that has several names, through links, counts once."""
        if self.folder.scheme == "gs":
            return sum(file.size for file in self.files)
        return sum({os.path.realpath(one.location.path): one.size for one in self.files}.values())

    def sizes(self) -> dict[str, int]:
        """Bytes of each file by its name in the folder."""
        return {file.location.path.removeprefix(self.folder.path): file.size for file in self.files}


def is_data(name: str) -> bool:
    """Whether this is the name of a data file of the variables, in a SavedModel's folder."""
    return _SHARD.fullmatch(name) is not None


def is_whole(sizes: Mapping[str, int]) -> bool:
    """Whether nothing is missing as far as names and sizes tell; variables are there or are not."""
    if not any(sizes.get(name) for name in SAVED_MODEL_FILES):
        return False
    shards = {(int(match[1]), int(match[2])) for match in _shards(sizes)}
    if not sizes.get(INDEX):
        return INDEX not in sizes and not shards
    return any(
        all((number, total) in shards for number in range(total))
        for total in {total for _, total in shards}
    )


def a_few(names: Iterable[str]) -> str:
    """The first names in order, each whole, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN_NAMES
    return ", ".join(ordered[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _shards(names: Iterable[str]) -> Iterator[re.Match[str]]:
    return (match for name in names if (match := _SHARD.fullmatch(name)))
