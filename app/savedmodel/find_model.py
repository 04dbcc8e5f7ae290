"""Finds the version of a model to serve, or raises an error with a suggestion."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from app.errors import InvalidModel, JobError, NotFound, PermissionDenied
from app.savedmodel.export_help import how_to_export
from app.savedmodel.model_files import (
    MODEL_FILES,
    SAVED_MODEL_FILES,
    ModelFiles,
    a_few,
    is_whole,
)
from app.storage import Location, Storage, StoredFile
from tfserving_launcher.saved_model import TFLITE_FILE

# The version number of a folder that directly holds a SavedModel.
_ONLY_VERSION = "1"
_LARGEST_VERSION = 2**63 - 1
# Longer numbers are too large, and int() rejects the longest ones.
_MOST_DIGITS = len(str(_LARGEST_VERSION))
# How many parent folders are searched for a SavedModel that contains the folder.
_LEVELS_ABOVE = 3

logger = logging.getLogger(__name__)

# The files of a version folder by relative name.
_Files = dict[str, StoredFile]


def find_model(model: Location, storage: Storage) -> ModelFiles:
    """Find the SavedModel in the folder, or in its subfolder with the highest number.

    A `model.tflite` takes the place of a SavedModel where there is none. Raises NotFound if the
    folder is empty, and InvalidModel if there is no SavedModel, none in the highest version, or if
    two folders have the highest number (`1` and `01`).
    """
    files = [file for file in storage.list_below(model) if not file.is_placeholder]
    names = [file.location.path.removeprefix(model.path) for file in files]
    if not files:
        raise _nothing_below(model, storage)
    if not set(SAVED_MODEL_FILES).isdisjoint(names):
        return ModelFiles(model, _ONLY_VERSION, files)
    folders: dict[str, _Files] = defaultdict(dict)
    for name, file in zip(names, files, strict=True):
        folder, slash, rest = name.partition("/")
        if slash and _is_digits(folder):
            folders[folder][rest] = file
    for folder in _local_version_folders(model):
        if folder not in folders:
            # The folder is empty, or a link to one that was listed under another name.
            path = model.below(f"{folder}/")
            folders[folder] = {
                file.location.path.removeprefix(path.path): file
                for file in storage.list_below(path)
                if not file.is_placeholder
            }
    versions = _by_number(model, folders)
    if not versions:
        if TFLITE_FILE in names:
            return ModelFiles(model, _ONLY_VERSION, files)
        raise _no_model(model, names, storage)
    highest = max(versions)
    version = _only_name(model, versions[highest])
    older = _older(model, highest, versions, folders)
    if folders[version].keys().isdisjoint(MODEL_FILES):
        raise _no_model_in_version(model, version, older, names, folders[version])
    return ModelFiles(
        model.below(f"{version}/"),
        version,
        [*folders[version].values()],
        older,
        tuple(name for number in sorted(versions, reverse=True) for name in versions[number]),
    )


def _is_digits(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _is_usable(name: str) -> bool:
    """Whether the model server accepts this folder name as a version."""
    if not _is_digits(name):
        return False
    digits = name.lstrip("0")
    return len(digits) <= _MOST_DIGITS and int(digits or "0") <= _LARGEST_VERSION


def _local_version_folders(model: Location) -> list[str]:
    """Version folders that the list of files does not show: empty ones, and links."""
    if model.scheme != "file":
        return []
    with os.scandir(model.path) as entries:
        return [entry.name for entry in entries if _is_digits(entry.name) and not entry.is_file()]


def _by_number(model: Location, folders: Iterable[str]) -> dict[int, list[str]]:
    """The folder names by their version numbers."""
    versions = defaultdict(list)
    too_large = []
    for folder in sorted(folders):
        if _is_usable(folder):
            versions[int(folder.lstrip("0") or "0")].append(folder)
        else:
            too_large.append(str(model.below(f"{folder}/")))
    if too_large:
        logger.warning(
            "no version of the model, because the number does not fit int64: %s", a_few(too_large)
        )
    return versions


def _only_name(model: Location, names: list[str]) -> str:
    if len(names) > 1:
        uris = a_few(str(model.below(f"{name}/")) for name in names)
        raise InvalidModel(
            f"model: {model} has several folders for its highest version: {a_few(names)} read as"
            f" the same number; give the one that is meant as model ({uris}), or remove the others"
        )
    return names[0]


def _older(
    model: Location, highest: int, versions: dict[int, list[str]], folders: dict[str, _Files]
) -> Location | None:
    for number in sorted(versions, reverse=True):
        for name in versions[number]:
            sizes = {rest: file.size for rest, file in folders[name].items()}
            if number < highest and is_whole(sizes):
                return model.below(f"{name}/")
    return None


def _no_model_in_version(
    model: Location, version: str, older: Location | None, names: list[str], files: Iterable[str]
) -> InvalidModel:
    found = a_few(name for name in files if name) or "nothing"
    message = (
        f"model: {model.below(f'{version}/')} is the highest version and no SavedModel: expected"
        f" saved_model.pb in it, found {found}"
    )
    if older is not None:
        message += f"; an older version looks whole: give {older} as model to use it"
    return InvalidModel(message + _models_below(model, names))


def _no_model(model: Location, names: list[str], storage: Storage) -> InvalidModel:
    found = a_few(name for name in names if name) or "nothing"
    hint = _models_below(model, names) or _model_above(model, storage) or how_to_export(names)
    return InvalidModel(
        f"model: {model} is not a SavedModel: expected saved_model.pb in it or in a numbered"
        f" folder, found {found}{hint}"
    )


def _nothing_below(model: Location, storage: Storage) -> JobError:
    file = Location(model.scheme, model.bucket, model.path.rstrip("/"))
    above = _model_above(model, storage)
    if file.path and storage.find(file) is not None:
        return InvalidModel(
            f"model: {file} is a file, and the folder of a SavedModel is wanted"
            f"{above or how_to_export([file.path])}"
        )
    return NotFound(f"model: nothing below {model}{above}")


def _models_below(model: Location, names: Iterable[str]) -> str:
    """The hint for SavedModels that lie deeper than expected."""
    deeper = set()
    for path in map(PurePosixPath, names):
        folder = path.parent
        if path.name not in SAVED_MODEL_FILES or _is_usable(str(folder)):
            continue  # not a SavedModel, or a version that the message already names
        is_version = _is_usable(folder.name) and len(folder.parts) > 1
        deeper.add(folder.parent if is_version else folder)
    # Mounted volumes also show their files under hidden names.
    visible = {one for one in deeper if not any(part.startswith(".") for part in one.parts)}
    uris = a_few(str(model.below(f"{one}/")) for one in visible or deeper)
    return f"; SavedModels are in {uris}: name one of them" if uris else ""


def _model_above(model: Location, storage: Storage) -> str:
    """The hint for a file or folder inside a SavedModel."""
    path = model.path.rstrip("/")
    for _ in range(_LEVELS_ABOVE):
        if not path:
            break
        folder = Location(model.scheme, model.bucket, path).parent()
        try:
            if any(storage.find(folder.below(name)) for name in SAVED_MODEL_FILES):
                return f"; it belongs to the SavedModel {folder}: name that"
        except PermissionDenied:
            break
        path = folder.path.rstrip("/")
    return ""
