"""A model's URI becomes a local version folder that a model server can load."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from app.errors import BadModel, NotFound, TooLarge
from app.parallel import GoOn, run_all
from app.storage import Location, Storage, StoredFile
from tfserving_launcher import memory_left

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_PARALLEL_FETCHES = 8
# The version of a folder that holds a SavedModel itself: a server wants a number.
_ONLY_VERSION = "1"
# What the server program takes before it has loaded anything.
_SERVER_BYTES = 230 * 1024 * 1024
# While it is loaded, a model is in memory twice: as files, where /tmp is memory, and as variables.
_TIMES_IN_MEMORY = 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One version of a model as it lies in storage; `folder` holds `saved_model.pb`."""

    folder: Location
    version: str
    files: list[StoredFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def find_model(model: Location, storage: Storage) -> ModelFiles:
    """The SavedModel in the folder, or in its numbered folder with the highest number.

    Raises NotFound where nothing is below the folder, BadModel where no SavedModel is.
    """
    files = [file for file in storage.list_below(model) if not file.is_placeholder]
    if not files:
        raise NotFound(f"model: nothing below {model}")
    names = {file.location.path.removeprefix(model.path) for file in files}
    if names.intersection(_SAVED_MODEL_FILES):
        return ModelFiles(model, _ONLY_VERSION, files)
    versions = [
        version
        for version, _, rest in (name.partition("/") for name in names)
        if rest in _SAVED_MODEL_FILES and version.isascii() and version.isdigit()
    ]
    if not versions:
        raise BadModel(
            f"model: {model} is not a SavedModel: expected saved_model.pb in it or in a numbered"
            f" folder, found {', '.join(sorted(names)[:5])}" + (", ..." if len(names) > 5 else "")
        )
    version = max(versions, key=int)
    folder = model.below(version + "/")
    return ModelFiles(
        folder, version, [file for file in files if file.location.path.startswith(folder.path)]
    )


def check_model_fits(model: ModelFiles, target: Path, model_memory_bytes: int | None) -> None:
    """Raises TooLarge where the model would take more memory or disk than there is.

    Said before anything is fetched: a container that runs out of memory is killed without a word.
    """
    size = model.size
    if model_memory_bytes is not None:
        if size > model_memory_bytes:
            raise TooLarge(
                f"model: {model.folder} has {_megabytes(size)}, and MODEL_MEMORY_BYTES allows"
                f" {_megabytes(model_memory_bytes)}",
                {"model_bytes": size, "allowed_bytes": model_memory_bytes},
            )
    elif memory := memory_left():
        times = _TIMES_IN_MEMORY if model.folder.scheme == "gs" else 1
        needed = times * size + _SERVER_BYTES
        if needed > memory.left:
            raise TooLarge(
                f"model: {model.folder} has {_megabytes(size)}, for which about"
                f" {_megabytes(needed)} of memory are needed, and {_megabytes(memory.left)} are"
                f" left of {_megabytes(memory.limit)}; give the instance more memory, or set"
                " MODEL_MEMORY_BYTES to the size of the largest model that it can take",
                {"model_bytes": size, "needed_bytes": needed, "left_bytes": memory.left},
            )
    if model.folder.scheme == "gs" and size > shutil.disk_usage(target).free:
        raise _no_room(model, target)


def fetch_model(
    model: ModelFiles, storage: Storage, target: Path, check: Callable[[], object]
) -> Path:
    """The path of a version folder below `target`; local models are linked, not copied.

    Files that are there already stay. Raises NotAllowed for a link that leads out of what may be
    used, BadModel where a name would leave the folder, TooLarge
    where there is no room, what storage raises, and what `check` raises, which is called again and
    again.
    """
    version_dir = target / model.version
    for file in model.files:
        storage.check_source(file.location)
    if model.folder.scheme == "file":
        if not version_dir.is_symlink():
            version_dir.symlink_to(model.folder.path, target_is_directory=True)
        return version_dir
    places = [(file, place_of(file, model, version_dir)) for file in model.files]
    folders = {folder for _, place in places for folder in place.parents}
    for file, place in places:
        if place in folders:
            raise BadModel(f"model: {file.uri} is a file and a folder of the SavedModel")
        if file.content_encoding not in ("", "identity"):
            raise BadModel(f"model: {file.uri} is stored with Content-Encoding, which is not read")
    missing = [(file, place) for file, place in places if not place.exists()]
    try:
        for _, place in missing:
            check()
            place.parent.mkdir(parents=True, exist_ok=True)
        fetches = [partial(_fetch, storage, file, place) for file, place in missing]
        run_all(fetches, workers=_PARALLEL_FETCHES, check=check)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _no_room(model, target) from None
        raise
    return version_dir


def _no_room(model: ModelFiles, target: Path) -> TooLarge:
    free = shutil.disk_usage(target).free
    return TooLarge(
        f"model: {model.folder} has {_megabytes(model.size)}, and the temporary folder has room for"
        f" {_megabytes(free)}; give it, or the instance's memory where it is memory, more",
        {"model_bytes": model.size, "free_bytes": free},
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _fetch(storage: Storage, file: StoredFile, place: Path, go_on: GoOn) -> None:
    go_on()
    storage.fetch(file, place, go_on)


def drop_variables(model: ModelFiles, version_dir: Path) -> None:
    """Gives back what the fetched variables take, in memory where the disk is memory.

    A server that has loaded the model does not read them again; assets it may.
    """
    variables = version_dir / "variables"
    if model.folder.scheme == "gs" and variables.exists():
        shutil.rmtree(variables)


def place_of(file: StoredFile, model: ModelFiles, version_dir: Path) -> Path:
    """Where a file of the model goes. Names come from outside: none may leave the folder."""
    name = file.location.path.removeprefix(model.folder.path)
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise BadModel(f"model: {file.uri!r} is no name for a file of a SavedModel")
    return version_dir.joinpath(*PurePosixPath(name).parts)
