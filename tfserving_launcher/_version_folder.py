"""What a version folder is called and holds, checked before a server starts."""

from pathlib import Path

from tfserving_launcher._errors import BadVersionFolder, NotASavedModel
from tfserving_launcher._options import PREFER_TFLITE
from tfserving_launcher._program import Program
from tfserving_launcher.saved_model import SAVED_MODEL_FILE, SAVED_MODEL_TEXT_FILE, TFLITE_FILE

_SAVED_MODEL_FILES = (SAVED_MODEL_FILE, SAVED_MODEL_TEXT_FILE)
_MODEL_FILES = (*_SAVED_MODEL_FILES, TFLITE_FILE)


def checked_version(version_dir: Path) -> str:
    """Check the version folder, and return its name.

    The server would wait forever for an invalid one.
    """
    name = version_dir.name
    digits = name.lstrip("0")
    # int() refuses the longest names.
    is_short = len(digits) <= len(str(2**63))
    if not (name.isascii() and name.isdigit() and is_short and int(digits or "0") < 2**63):
        raise BadVersionFolder(
            f"a version folder's name must be a whole number, as in .../1; this one is {name!r}"
        )
    if not any((version_dir / file).is_file() for file in _MODEL_FILES):
        what = "an empty or missing folder"
        if version_dir.is_dir() and (found := sorted(path.name for path in version_dir.iterdir())):
            what = f"only {', '.join(found[:5])}" + (", ..." if len(found) > 5 else "")
        raise NotASavedModel(f"{version_dir} is not a SavedModel: no saved_model.pb, {what}")
    return name


def is_tflite(version_dir: Path, program: Program) -> bool:
    """Whether the server is to load `model.tflite`, which it does only if it is told to.

    A SavedModel beside it goes first, as in a server without the flag.
    """
    if any((version_dir / file).is_file() for file in _SAVED_MODEL_FILES):
        return False
    if not program.knows(PREFER_TFLITE):
        raise NotASavedModel(
            f"{version_dir} holds a {TFLITE_FILE}, and this model server program has no flag"
            f" --{PREFER_TFLITE} to load it"
        )
    return True
