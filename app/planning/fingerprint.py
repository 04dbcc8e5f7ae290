"""Fingerprints: a digest of everything that determines an output's bytes."""

import hashlib
from collections.abc import Iterable

import orjson

from app.config.file_format import InputFormat
from app.config.job_spec import JobSpec
from app.settings import Settings
from app.storage import WRITER_KEY, StoredFile
from tfserving_launcher import DEFAULT_SIGNATURE

# Increment it when the same job would write other bytes than before.
_FORMAT = 3
# Metadata key: an output's fingerprint.
FINGERPRINT_KEY = "embedded-tf-fingerprint"


def job_fingerprint(model_files: list[StoredFile], spec: JobSpec, settings: Settings) -> str:
    """The digest of the model's generations and of the parameters that affect outputs."""
    follows_from = {
        "format": _FORMAT,
        "model": [_identity(file) for file in model_files],
        "signature_name": spec.signature_name or DEFAULT_SIGNATURE,
        "batch_size": spec.batch_size,
        "on_error": spec.on_error,
        "fields": spec.fields,
        "output_format": spec.output_format,
        "output_compression": spec.output_compression,
        # The limit decides which lines are skipped. Without skipping, an overlong line fails the
        # job.
        "max_line_bytes": settings.max_line_bytes if spec.on_error == "skip" else None,
    }
    # Defaults are left out, so that existing outputs stay reusable.
    later = {
        "integer_strings": spec.integer_strings or None,
        "csv_header": spec.csv_header,
        "csv_delimiter": spec.csv_delimiter,
        "constants": spec.constants or None,
        "output_filter": sorted(spec.output_filter) or None,
    }
    follows_from |= {name: value for name, value in later.items() if value is not None}
    return _digest(follows_from)


def file_fingerprint(
    job_fingerprint: str, input_format: InputFormat, files: Iterable[StoredFile], *, gzip: bool
) -> str:
    """The digest of the job's fingerprint, and of the generations of an input and its files."""
    return _digest([job_fingerprint, input_format, gzip, [_identity(file) for file in files]])


def is_output(file: StoredFile) -> bool:
    """Whether a job finished this file."""
    return FINGERPRINT_KEY in file.metadata


def is_made_by_job(file: StoredFile) -> bool:
    """Whether a job wrote this file, even if it did not finish."""
    return is_output(file) or WRITER_KEY in file.metadata


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _identity(file: StoredFile) -> tuple[str | int | None, ...]:
    identity = (file.uri, file.size, file.generation)
    if file.real_path in ("", file.location.path):
        return identity
    # A link may be changed to another file of the same size and mtime.
    return (*identity, file.real_path)
