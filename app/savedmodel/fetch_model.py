"""Fetches the model's files into a local version folder that a model server can load."""

import errno
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

from app.concurrency.parallel import GoOn, run_all
from app.errors import InvalidModel, TooLarge
from app.savedmodel.check_model import LONGEST_POINTER, check_model
from app.savedmodel.model_files import ModelFiles, is_data, is_whole
from app.storage import Storage, StoredFile
from tfserving_launcher import memory_left

_PARALLEL_FETCHES = 8
# The memory of the server program without a model.
_SERVER_BYTES = 230 * 1024 * 1024
# During loading, a model is in memory twice: as files in /tmp, and as variables.
_TIMES_IN_MEMORY = 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_model_fits(model: ModelFiles, target: Path, model_memory_bytes: int | None) -> None:
    """Raise TooLarge if the model needs more memory or disk than there is.

    Checked before fetching, because a container that runs out of memory is killed silently.
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
                {
                    "model_bytes": size,
                    "needed_bytes": needed,
                    "left_bytes": memory.left,
                    "limit_bytes": memory.limit,
                },
            )
    if model.folder.scheme == "gs" and size > shutil.disk_usage(target).free:
        raise _no_room(model, target)


def fetch_model(
    model: ModelFiles, storage: Storage, target: Path, check: Callable[[], object]
) -> Path:
    """Fetch the model into a version folder below `target`, and return its path.

    Local models are linked, and existing files stay. Calls `check` regularly. Raises
    PermissionDenied for links out of the allowed folders, InvalidModel for names that leave the
    folder and for damaged files, TooLarge if the disk is full, and what storage raises.
    """
    version_dir = target / model.version_name
    check_sources(model, storage)
    if model.folder.scheme == "file":
        if not version_dir.is_symlink():
            version_dir.symlink_to(model.folder.path, target_is_directory=True)
            check_model(model, version_dir)
        return version_dir
    missing = [(file, path) for file, path in _local_paths(model, version_dir) if not path.exists()]
    if missing:
        try:
            _fetch_missing(missing, model, storage, version_dir, check)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise _no_room(model, target) from None
            raise
        check_model(model, version_dir)
    return version_dir


def check_sources(model: ModelFiles, storage: Storage) -> None:
    """Raise PermissionDenied for links out of the allowed folders."""
    for file in model.files:
        storage.check_source(file.location)


def _local_paths(model: ModelFiles, version_dir: Path) -> list[tuple[StoredFile, Path]]:
    """The local path of each file. Raises InvalidModel for names that are not possible."""
    paths = [(file, local_path(file, model, version_dir)) for file in model.files]
    folders = {folder for _, path in paths for folder in path.parents}
    for file, path in paths:
        if path in folders:
            raise InvalidModel(f"model: {file.uri} is a file and a folder of the SavedModel")
        if file.content_encoding not in ("", "identity"):
            raise InvalidModel(
                f"model: {file.uri} is stored with Content-Encoding, which is not read"
            )
    return paths


def _fetch_missing(
    missing: list[tuple[StoredFile, Path]],
    model: ModelFiles,
    storage: Storage,
    version_dir: Path,
    check: Callable[[], object],
) -> None:
    if not is_whole(model.sizes()):
        # Fetch the small files first: they may show that others are missing.
        _fetch_all([one for one in missing if not _may_wait(one[0], model)], storage, check)
        check_model(model, version_dir)
        missing = [one for one in missing if _may_wait(one[0], model)]
    _fetch_all(missing, storage, check)


def _may_wait(file: StoredFile, model: ModelFiles) -> bool:
    """Whether the check needs only the size of this file."""
    name = file.location.path.removeprefix(model.folder.path)
    return is_data(name) and file.size > LONGEST_POINTER


def _fetch_all(
    files: list[tuple[StoredFile, Path]], storage: Storage, check: Callable[[], object]
) -> None:
    for _, path in files:
        check()
        path.parent.mkdir(parents=True, exist_ok=True)
    fetches = [partial(_fetch, storage, file, path) for file, path in files]
    run_all(fetches, workers=_PARALLEL_FETCHES, check=check)


def _no_room(model: ModelFiles, target: Path) -> TooLarge:
    free = shutil.disk_usage(target).free
    return TooLarge(
        f"model: {model.folder} has {_megabytes(model.size)}, and the temporary folder has room for"
        f" {_megabytes(free)}; give it, or the instance's memory where it is memory, more",
        {"model_bytes": model.size, "free_bytes": free},
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _fetch(storage: Storage, file: StoredFile, path: Path, go_on: GoOn) -> None:
    go_on()
    storage.fetch(file, path, go_on)


def drop_variables(model: ModelFiles, version_dir: Path) -> None:
    """Delete the fetched variables, which take memory if /tmp is in memory.

    A server does not read them again after loading. It may read assets again.
    """
    variables = version_dir / "variables"
    if model.folder.scheme == "gs" and variables.exists():
        shutil.rmtree(variables)


def local_path(file: StoredFile, model: ModelFiles, version_dir: Path) -> Path:
    """The local path of a file. Raises InvalidModel for a name that would leave the folder."""
    name = file.location.path.removeprefix(model.folder.path)
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InvalidModel(f"model: {file.uri!r} is no name for a file of a SavedModel")
    return version_dir.joinpath(*PurePosixPath(name).parts)
