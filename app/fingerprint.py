"""What the bytes of an output follow from, as one short text."""

import hashlib

import orjson

from app.job_spec import JobSpec
from app.settings import Settings
from app.storage import StoredFile

# Counts up when the same call would write other bytes than before.
_FORMAT = 1


def job_fingerprint(model_files: list[StoredFile], spec: JobSpec, settings: Settings) -> str:
    """Of the generations of the model's files, and of the parameters that change an output."""
    follows_from = {
        "format": _FORMAT,
        "model": [_identity(file) for file in model_files],
        "signature_name": spec.signature_name,
        "batch_size": spec.batch_size,
        "on_error": spec.on_error,
        # Decides which lines are skipped; a file that is whole holds none that are too long.
        "max_line_bytes": settings.max_line_bytes if spec.on_error == "skip" else None,
    }
    return _digest(follows_from)


def file_fingerprint(job_fingerprint: str, file: StoredFile) -> str:
    """Of an input's generation and of all that the files of a job have in common."""
    return _digest([job_fingerprint, _identity(file)])


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _identity(file: StoredFile) -> tuple[str, int, int | None]:
    return file.uri, file.size, file.generation
