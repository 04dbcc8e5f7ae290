"""Recognises outputs that an earlier call has finished, so that they are not made again.

The metadata of each output has a fingerprint of everything that its bytes depend on, and the counts
for the report. A repeated call goes on with what is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.planning.fingerprint import FINGERPRINT_KEY
from app.planning.plan import FileTask
from app.storage import Location, Storage, StoredFile
from app.telemetry.report import FileReport, FilesDone

_COUNTS = "embedded-tf-counts"
_SIGNATURE = "embedded-tf-signature"
_ERRORS_OF = "embedded-tf-errors-of"


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of a file, and how many of them are bad."""

    instances: int
    errors: int


def output_metadata(fingerprint: str, counts: Counts, signature_name: str) -> dict[str, str]:
    """What `reuse` finds again."""
    return {
        FINGERPRINT_KEY: fingerprint,
        _COUNTS: orjson.dumps(counts).decode(),
        _SIGNATURE: signature_name,
    }


def errors_metadata(
    fingerprint: str, output: Location, counts: Counts, signature_name: str
) -> dict[str, str]:
    """The same for the file of bad rows that belongs to `output`."""
    return {**output_metadata(fingerprint, counts, signature_name), _ERRORS_OF: str(output)}


def stale_errors(task: FileTask) -> StoredFile | None:
    """Bad rows that an earlier call has found, for an output that has none any more."""
    errors = task.old_errors
    if errors is None or errors.metadata.get(_ERRORS_OF) != str(task.output):
        return None
    return errors


def reuse(tasks: Iterable[FileTask], done: FilesDone, storage: Storage) -> list[FileTask]:
    """Tells `done` of the outputs that are there already, and returns the tasks of the others."""
    missing = []
    for task in tasks:
        if report := _reusable(task):
            if report.errors == 0 and (stale := stale_errors(task)):
                storage.delete(stale)
            done.add(report)
            if task.old_output is not None and (name := task.old_output.metadata.get(_SIGNATURE)):
                done.signature_name = name
        else:
            missing.append(task)
    return missing


def _reusable(task: FileTask) -> FileReport | None:
    """The report of an output that is there already, or None where it must be made.

    An output that had bad rows counts only together with the file of these.
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


def _counts(file: StoredFile | None, fingerprint: str) -> Counts | None:
    """Those of a file with this fingerprint."""
    if file is None or file.metadata.get(FINGERPRINT_KEY) != fingerprint:
        return None
    try:
        counts = orjson.loads(file.metadata[_COUNTS])
        return Counts(int(counts["instances"]), int(counts["errors"]))
    except (KeyError, TypeError, ValueError):
        # A large output gets its counts after its content; whoever wrote this one was cut off.
        return None
