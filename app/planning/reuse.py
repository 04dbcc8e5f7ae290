"""Finds outputs of earlier calls that can be reused.

The metadata of each output holds its fingerprint, and the counts for the report. A repeated call
makes only what is missing.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.config.job_spec import JobSpec
from app.errors import Aborted, InputError, NotFound, TransferBroken
from app.planning.fingerprint import FINGERPRINT_KEY
from app.planning.plan import FileTask
from app.planning.row_count import count_rows
from app.storage import WRITER_KEY, Location, Storage, StoredFile
from app.telemetry.report import FileReport, FilesDone

_COUNTS = "embedded-tf-counts"
_SIGNATURE = "embedded-tf-signature"
_ERRORS_OF = "embedded-tf-errors-of"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of rows of a file, and of invalid ones."""

    instances: int
    errors: int


def output_metadata(fingerprint: str, signature_name: str) -> dict[str, str]:
    """The metadata of an output, for `reuse`."""
    return {FINGERPRINT_KEY: fingerprint, _SIGNATURE: signature_name}


def errors_metadata(fingerprint: str, signature_name: str, output: Location) -> dict[str, str]:
    """The metadata of the errors file of `output`."""
    return {**output_metadata(fingerprint, signature_name), _ERRORS_OF: str(output)}


def counts_metadata(counts: Counts) -> dict[str, str]:
    """The metadata of both that is known after the last row."""
    return {_COUNTS: orjson.dumps(counts).decode()}


def stale_errors(task: FileTask) -> StoredFile | None:
    """The errors file of an earlier call, for an output that has no row errors now."""
    errors = task.old_errors
    if errors is None or errors.metadata.get(_ERRORS_OF) != str(task.output):
        return None
    return errors


def reuse(
    tasks: Iterable[FileTask],
    done: FilesDone,
    storage: Storage,
    spec: JobSpec,
    made_by: str | None = None,
) -> list[FileTask]:
    """Report reusable outputs to `done`, and return the tasks of the others.

    With `made_by`, only outputs of the job with this id are reusable: those of an earlier run.
    """
    missing = []
    for task in tasks:
        report = _reusable(task, storage, spec)
        if report and (made_by is None or _writer(task) == made_by):
            if report.errors == 0 and (stale := stale_errors(task)):
                storage.delete(stale)
            done.add(report)
            if task.old_output is not None and (name := task.old_output.metadata.get(_SIGNATURE)):
                done.signature_name = name
        else:
            missing.append(task)
    return missing


def _reusable(task: FileTask, storage: Storage, spec: JobSpec) -> FileReport | None:
    """The report of a reusable output, or None.

    An output with row errors is reusable only together with its errors file.
    """
    if task.old_output is None or not _is_of(task, task.old_output):
        return None
    old_errors = task.old_errors
    if old_errors is not None and not _is_of(task, old_errors):
        old_errors = None
    # Storage may have refused the counts of a large file, after it had taken all of its rows.
    counts = (
        _noted_counts(task.old_output)
        or _noted_counts(old_errors)
        or _counted(task.old_output, old_errors, spec, storage)
    )
    if counts is None or (counts.errors and old_errors is None):
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


def _is_of(task: FileTask, file: StoredFile) -> bool:
    """Whether the file follows from what the task would make it from."""
    return file.metadata.get(FINGERPRINT_KEY) == task.fingerprint


def _noted_counts(file: StoredFile | None) -> Counts | None:
    try:
        counts = orjson.loads(file.metadata[_COUNTS]) if file is not None else None
        return None if counts is None else Counts(int(counts["instances"]), int(counts["errors"]))
    except (KeyError, TypeError, ValueError):
        return None


def _counted(
    output: StoredFile, errors: StoredFile | None, spec: JobSpec, storage: Storage
) -> Counts | None:
    """Count the rows by reading what is there; None if it is not what was listed.

    None as well if an errors file may have been there, because nothing tells of it.
    """
    if spec.on_error == "skip" and errors is None:
        return None
    try:
        good = count_rows(output, spec.output_format, storage)
        bad = 0 if errors is None else count_rows(errors, "jsonl", storage)
    except (TransferBroken, NotFound, Aborted, InputError) as error:
        logger.warning("%s; it is made again", error)
        return None
    logger.info("%s: no counts are noted, so its rows were counted", output.uri)
    return Counts(good + bad, bad)
