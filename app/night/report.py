"""The report of a run: `report.json`, and what its page is made from."""

import csv
import io
import logging
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from app.config.job_spec import LISTS_OF_NAMES, parameters_of
from app.errors import shortened
from app.jobs.record import JobRecord
from app.jobs.record_json import timestamp
from app.night.comparison import compared
from app.night.frozen_manifest import FrozenManifest
from app.night.reconciliation import JobOutcome, Outcome, counted, is_settled, is_success

# What differs between messages of one cause: places, quoted values and numbers.
_PARTICULARS = re.compile(r"""gs://\S+|(?<=\s)/\S+|^/\S+|'[^']*'|"[^"]*"|\b\d[\d.,]*\b""")
_CAUSE_CHARACTERS = 200
logger = logging.getLogger(__name__)

_FAILED = (Outcome.FAILED, Outcome.CANCELLED)


def report_of(
    manifest: FrozenManifest,
    outcomes: list[JobOutcome],
    now: datetime,
    *,
    is_complete: bool | None = None,
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of a run, as `report.json` has it.

    `is_complete` None means: once each job has settled. `previous` is the report of the run that
    this one is compared with. Sizes are in bytes, durations in seconds.
    """
    states = counted(outcomes)
    if sum(states.values()) != len(manifest.jobs):
        raise AssertionError("the states do not add up to the total")
    jobs = [job_json(one) for one in outcomes]
    if is_complete is None:
        is_complete = all(is_settled(one.outcome) for one in outcomes)
    report: dict[str, Any] = {
        "run": manifest.run,
        "job_id_prefix": manifest.job_id_prefix,
        "created": timestamp(manifest.created),
        "updated": timestamp(now),
        "complete": is_complete,
        "require_input": manifest.require_input,
        "success": is_success(outcomes, require_input=manifest.require_input),
        "total": len(manifest.jobs),
        "states": states,
        "rows": sum(job.get("rows", 0) for job in jobs),
        "bad_rows": sum(job.get("bad_rows", 0) for job in jobs),
        "seconds": round(sum(job.get("seconds", 0.0) for job in jobs), 3),
        "failures": failures_by_cause(outcomes),
    }
    if previous is not None:
        try:
            report["compared_with"] = {"run": manifest.compared_with, **compared(jobs, previous)}
        except (KeyError, TypeError) as error:
            logger.warning("%s has another report: %r", manifest.compared_with, error)
    return {**report, "jobs": jobs}


def job_json(one: JobOutcome) -> dict[str, Any]:
    """One job of a report; fields without a value are left out."""
    body: dict[str, Any] = {
        "name": one.name,
        "job_id": one.job_id,
        "state": one.outcome.value,
        "input_files": one.surveyed.files,
        "input_bytes": one.surveyed.size,
    }
    record = one.record
    if record is not None:
        report = record.report or {}
        body |= {
            "rows": report.get("instances", record.counts.rows),
            "bad_rows": report.get("errors", 0),
            "seconds": round(record.run_seconds, 3),
            # A job whose outputs were there says nothing about the time that they took.
            "made_seconds": round(record.made_seconds, 3),
            "phases": report.get("seconds", {}),
            "attempts": record.attempts,
        }
        if record.start_time is not None:
            body["start"] = timestamp(record.start_time)
        if record.end_time is not None:
            body["end"] = timestamp(record.end_time)
        if record.error is not None:
            body["error"] = {
                "code": record.error["code"],
                "status": record.error["status"],
                "reason": error_class(record),
                "message": record.error["message"],
            }
    elif one.surveyed.message:
        body["message"] = one.surveyed.message
    return body


def error_class(record: JobRecord) -> str:
    """The stable name of the error, as ErrorInfo has it: INVALID_INSTANCE."""
    error = record.error or {}
    reasons = (one.get("reason") for one in error.get("details", ()))
    return next((str(reason) for reason in reasons if reason), str(error.get("status", "")))


def failures_by_cause(outcomes: Iterable[JobOutcome]) -> list[dict[str, Any]]:
    """Failed and cancelled jobs whose errors differ in names and numbers only, the most first.

    Each cause has the message of its first job, and the command that runs that job alone.
    """
    causes: dict[tuple[str, str], list[JobOutcome]] = {}
    for one in outcomes:
        if one.outcome in _FAILED:
            causes.setdefault(_cause(one), []).append(one)
    ordered = sorted(causes.items(), key=lambda item: -len(item[1]))
    return [
        {
            "reason": reason,
            "count": len(jobs),
            "message": _message(jobs[0]),
            "command": command_of(jobs[0]),
            "names": [one.name for one in jobs],
        }
        for (reason, _), jobs in ordered
    ]


def command_of(one: JobOutcome) -> str:
    """The command that runs the job alone."""
    words = ["embedded-tf", "predict"]
    for name, value in parameters_of(one.surveyed.job.spec).items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words += [option, "true"] if name == "csv_header" else [option]
        elif isinstance(value, dict):
            words += [option, orjson.dumps(value).decode()]
        elif name in LISTS_OF_NAMES:
            words += [option, _csv_row(value)]
        elif isinstance(value, list):
            for text in value:
                words += [option, str(text)]
        else:
            words += [option, str(value)]
    return shlex.join(words)


def _csv_row(names: Sequence[str]) -> str:
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(names)
    return row.getvalue()


def _cause(one: JobOutcome) -> tuple[str, str]:
    reason = error_class(one.record) if one.record is not None else ""
    return reason, _PARTICULARS.sub("…", _message(one))[:_CAUSE_CHARACTERS]


def _message(one: JobOutcome) -> str:
    error = (one.record and one.record.error) or {}
    return shortened(str(error.get("message", "")), 1000)
