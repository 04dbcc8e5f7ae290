"""What the bytes of an output follow from, as one short text."""

import hashlib

import orjson

from app.job_spec import JobSpec
from app.settings import Settings
from app.storage import StoredFile

# Counts up when the same call would write other bytes than before.
_FORMAT = 1


def fingerprint(
    file: StoredFile, model_files: list[StoredFile], spec: JobSpec, settings: Settings
) -> str:
    """Of the generations of input and model files, and of the parameters that change the output."""
    follows_from = {
        "format": _FORMAT,
        "model": [_identity(model_file) for model_file in model_files],
        "input": _identity(file),
        "signature_name": spec.signature_name,
        "batch_size": spec.batch_size,
        "on_error": spec.on_error,
        # Decides which lines are skipped; a file that is whole holds none that are too long.
        "max_line_bytes": settings.max_line_bytes if spec.on_error == "skip" else None,
    }
    return hashlib.sha256(orjson.dumps(follows_from, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _identity(file: StoredFile) -> tuple[str, int, int | None]:
    return file.uri, file.size, file.generation
