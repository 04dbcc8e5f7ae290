"""The files of one model version, and checks of their names and sizes."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.storage import Location, StoredFile
from tfserving_launcher.saved_model import TFLITE_FILE

SAVED_MODEL_PB = "saved_model.pb"
SAVED_MODEL_FILES = (SAVED_MODEL_PB, "saved_model.pbtxt")
# What a server loads of a version folder: a SavedModel, or else this one.
MODEL_FILES = (*SAVED_MODEL_FILES, TFLITE_FILE)
INDEX = "variables/variables.index"

_SHARD = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})", re.ASCII)
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One version of a model in storage; `folder` holds `saved_model.pb`.

    `older` is the next lower version that looks complete, or None. `versions` are all numbered
    folders, highest first.
    """

    folder: Location
    version: str
    files: list[StoredFile]
    older: Location | None = None
    versions: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The total size of all files. A local file with several names counts once."""
        if self.folder.scheme == "gs":
            return sum(file.size for file in self.files)
        return sum({os.path.realpath(one.location.path): one.size for one in self.files}.values())

    @property
    def version_name(self) -> str:
        """The version without leading zeros, which may make it too long for a local folder."""
        return self.version.lstrip("0") or "0"

    @property
    def is_tflite(self) -> bool:
        """Whether a server loads the model's `model.tflite`."""
        names = self.sizes().keys()
        return TFLITE_FILE in names and names.isdisjoint(SAVED_MODEL_FILES)

    def sizes(self) -> dict[str, int]:
        """The sizes of the files by relative name."""
        return {file.location.path.removeprefix(self.folder.path): file.size for file in self.files}


def is_data(name: str) -> bool:
    """Whether this is the relative name of a variables data file."""
    return _SHARD.fullmatch(name) is not None


def is_whole(sizes: Mapping[str, int]) -> bool:
    """Whether the names and sizes show no missing file. A model may have no variables."""
    graph = next((name for name in MODEL_FILES if sizes.get(name)), None)
    if graph is None or graph == TFLITE_FILE:
        return graph is not None
    shards = {(int(match[1]), int(match[2])) for match in _shards(sizes)}
    if not sizes.get(INDEX):
        return INDEX not in sizes and not shards
    return any(
        all((number, total) in shards for number in range(total))
        for total in {total for _, total in shards}
    )


def a_few(names: Iterable[str]) -> str:
    """The first few names in order, and the number of others."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN_NAMES
    return ", ".join(ordered[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _shards(names: Iterable[str]) -> Iterator[re.Match[str]]:
    return (match for name in names if (match := _SHARD.fullmatch(name)))
