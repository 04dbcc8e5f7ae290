"""Finds outputs of earlier calls that can be reused.

The metadata of each output holds its fingerprint, and the counts for the report. A repeated call
makes only what is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.planning.fingerprint import FINGERPRINT_KEY
from app.planning.plan import FileTask
from app.storage import WRITER_KEY, Location, Storage, StoredFile
from app.telemetry.report import FileReport, FilesDone

_COUNTS = "embedded-tf-counts"
_SIGNATURE = "embedded-tf-signature"
_ERRORS_OF = "embedded-tf-errors-of"


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of rows of a file, and of invalid ones."""

    instances: int
    errors: int


def output_metadata(fingerprint: str, counts: Counts, signature_name: str) -> dict[str, str]:
    """The metadata of an output, for `reuse`."""
    return {
        FINGERPRINT_KEY: fingerprint,
        _COUNTS: orjson.dumps(counts).decode(),
        _SIGNATURE: signature_name,
    }


def errors_metadata(
    fingerprint: str, output: Location, counts: Counts, signature_name: str
) -> dict[str, str]:
    """The metadata of the errors file of `output`."""
    return {**output_metadata(fingerprint, counts, signature_name), _ERRORS_OF: str(output)}


def stale_errors(task: FileTask) -> StoredFile | None:
    """The errors file of an earlier call, for an output that has no row errors now."""
    errors = task.old_errors
    if errors is None or errors.metadata.get(_ERRORS_OF) != str(task.output):
        return None
    return errors


def reuse(
    tasks: Iterable[FileTask], done: FilesDone, storage: Storage, made_by: str | None = None
) -> list[FileTask]:
    """Report reusable outputs to `done`, and return the tasks of the others.

    With `made_by`, only outputs of the job with this id are reusable: those of an earlier run.
    """
    missing = []
    for task in tasks:
        report = _reusable(task)
        if report and (made_by is None or _writer(task) == made_by):
            if report.errors == 0 and (stale := stale_errors(task)):
                storage.delete(stale)
            done.add(report)
            if task.old_output is not None and (name := task.old_output.metadata.get(_SIGNATURE)):
                done.signature_name = name
        else:
            missing.append(task)
    return missing


def _reusable(task: FileTask) -> FileReport | None:
    """The report of a reusable output, or None.

    An output with row errors is reusable only together with its errors file.
    """
    counts = _counts(task.old_output, task.fingerprint)
    if counts is None or task.old_output is None:
        return None
    if counts.errors and _counts(task.old_errors, task.fingerprint) != counts:
        return None
    return FileReport(
        state="REUSED",
        input=task.input.uri,
        output=str(task.output),
        errors_output=str(task.errors_output) if counts.errors else None,
        instances=counts.instances,
        predictions=counts.instances - counts.errors,
        errors=counts.errors,
        input_bytes=task.input.size,
        output_bytes=task.old_output.size,
    )


def _writer(task: FileTask) -> str | None:
    return None if task.old_output is None else task.old_output.metadata.get(WRITER_KEY)


def _counts(file: StoredFile | None, fingerprint: str) -> Counts | None:
    """The counts of a file with this fingerprint, or None."""
    if file is None or file.metadata.get(FINGERPRINT_KEY) != fingerprint:
        return None
    try:
        counts = orjson.loads(file.metadata[_COUNTS])
        return Counts(int(counts["instances"]), int(counts["errors"]))
    except (KeyError, TypeError, ValueError):
        # A large output gets its counts after its content, and this writer was interrupted.
        return None
