"""Checks the files of a model before a model server starts.

A model is refused only if TensorFlow would fail on it. In doubt, the server decides.
Source: github.com/git-lfs/git-lfs/blob/main/docs/spec.md (pointers); tensorflow/cc/saved_model/
loader.cc (variables are restored where `variables/variables.index` is there).
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.errors import InvalidModel
from app.savedmodel.graph_variables import variables_needed
from app.savedmodel.model_files import (
    INDEX,
    MODEL_FILES,
    SAVED_MODEL_PB,
    ModelFiles,
    a_few,
    is_data,
)
from app.savedmodel.saved_model_file import fault_of, restores_variables
from app.savedmodel.tensor_bundle import DamagedIndex, UnreadIndex, shard_sizes
from tfserving_launcher.saved_model import TFLITE_FILE

_POINTER = b"version https://git-lfs.github.com/spec/v1"
LONGEST_POINTER = 1024
# The folders that TensorFlow reads. Pointers elsewhere do no harm.
_READ_FOLDERS = ("variables/", "assets/", "assets.extra/")
# The index of a model with 200,000 variables has about this size.
_LONGEST_INDEX = 16 * 1024 * 1024

# The file identifier of a TensorFlow Lite model, after an offset of four bytes: schema.fbs.
_TFLITE_MARK = b"TFL3"
_TFLITE_BEGINNING = 8

logger = logging.getLogger(__name__)


def check_model(model: ModelFiles, version_dir: Path) -> None:
    """Raise InvalidModel, with file names, if files are missing, truncated or something else.

    `version_dir` holds the files. The variables' data files need not be there, because their sizes
    are known.
    """
    try:
        _check_pointers(model, version_dir)
        for fault in _faults(model.sizes(), version_dir):
            raise _bad(model, f"cannot be loaded: {fault}")
    except OSError as error:
        # A local file is unreadable or gone.
        raise InvalidModel(f"model: {model.folder} cannot be read: {error.strerror}") from error


def _check_pointers(model: ModelFiles, version_dir: Path) -> None:
    pointers = [
        name
        for name, size in model.sizes().items()
        if len(_POINTER) <= size <= LONGEST_POINTER and _is_pointer(version_dir / name)
    ]
    read = [name for name in pointers if name in MODEL_FILES or name.startswith(_READ_FOLDERS)]
    if read:
        raise _bad(
            model,
            f"holds Git LFS pointers in place of files: {a_few(read)}; run `git lfs pull` in the"
            " repository that they come from, and copy the files again",
        )
    if pointers:
        logger.warning(
            "%s holds Git LFS pointers in place of files, none of which TensorFlow reads: %s",
            model.folder,
            a_few(pointers),
        )


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _faults(sizes: Mapping[str, int], version_dir: Path) -> Iterator[str]:
    graph = next(name for name in MODEL_FILES if name in sizes)
    if sizes[graph] == 0:
        yield f"{graph} is empty"
    if graph == TFLITE_FILE:
        with (version_dir / graph).open("rb") as file:
            if file.read(_TFLITE_BEGINNING)[-len(_TFLITE_MARK) :] != _TFLITE_MARK:
                yield f"{graph} is no TensorFlow Lite model: {_TFLITE_MARK.decode()} is not in it"
        return
    if graph == SAVED_MODEL_PB and (fault := fault_of(version_dir / graph)):
        yield f"{graph} {fault}"
    data = [name for name in sizes if is_data(name)]
    if INDEX in sizes:
        fault = _fault_of_variables(sizes, version_dir / INDEX)
        if fault and restores_variables(version_dir / graph):
            yield fault
    elif graph == SAVED_MODEL_PB and (variables := variables_needed(version_dir / graph)):
        beside = f"{a_few(data)} {'is' if len(data) == 1 else 'are'}" if data else "no data file is"
        yield (
            f"{INDEX} is missing ({beside} there), and its signatures need the"
            f" values of {variables} variable{'s' if variables > 1 else ''}"
        )


def _fault_of_variables(sizes: Mapping[str, int], index: Path) -> str | None:
    if sizes[INDEX] > _LONGEST_INDEX:
        return None
    try:
        needed = shard_sizes(index.read_bytes())
    except DamagedIndex as damage:
        return f"{INDEX} {damage}"
    except UnreadIndex as unread:
        logger.info("%s is left to the model server to judge: %s", INDEX, unread)
        return None
    faults = []
    for suffix, size in needed.items():
        name = f"variables/variables.{suffix}"
        if name not in sizes:
            faults.append(f"{name} is missing, of which the index tells")
        elif sizes[name] < size:
            faults.append(f"{name} is cut off: it has {sizes[name]} bytes, and must have {size}")
    return "; ".join(faults[:5]) or None


def _bad(model: ModelFiles, fault: str) -> InvalidModel:
    older = (
        f"; an older version looks whole: give {model.older} as model to use it"
        if model.older
        else ""
    )
    return InvalidModel(f"model: {model.folder} {fault}{older}")
