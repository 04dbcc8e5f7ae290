"""What became of each job of a run. Every name is in exactly one state."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.jobs.record import JobRecord, JobState
from app.jobs.record_json import timestamp
from app.night.run_files import FrozenManifest
from app.night.survey import Readiness, SurveyedJob


class Outcome(StrEnum):
    """What became of a job. RUNNING only while a run goes on."""

    SUCCEEDED = "succeeded"
    REUSED = "reused"
    FAILED = "failed"
    MISSING_MODEL = "missing model"
    NO_INPUT = "no input"
    CANCELLED = "cancelled"
    RUNNING = "running"
    NEVER_RAN = "never ran"


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """One job of a run. `record` is None if it was never submitted."""

    name: str
    job_id: str
    outcome: Outcome
    record: JobRecord | None
    message: str

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.name, "job_id": self.job_id, "state": self.outcome}
        record = self.record
        if record is not None:
            report = record.report or {}
            body |= {
                "model": str(record.spec.model),
                "rows": report.get("instances", record.counts.rows),
                "bad_rows": report.get("errors", 0),
                "seconds": record.run_seconds,
                "phases": report.get("seconds", {}),
                "attempts": record.attempts,
            }
            if record.error is not None:
                body["error"] = {key: record.error[key] for key in ("code", "status", "message")}
        if self.message:
            body["message"] = self.message
        return body


def reconcile(
    manifest: FrozenManifest, surveyed: Iterable[SurveyedJob], records: Mapping[str, JobRecord]
) -> list[JobOutcome]:
    """The outcome of each job of the manifest, by its record. `records` are by job id."""
    looks = {one.job.name: one for one in surveyed}
    outcomes = []
    for job in manifest.jobs:
        job_id = manifest.job_id(job)
        record, look = records.get(job_id), looks.get(job.name)
        outcome, message = _outcome(record, look)
        outcomes.append(JobOutcome(job.name, job_id, outcome, record, message))
    return outcomes


def counted(outcomes: Iterable[JobOutcome]) -> dict[str, int]:
    """The number of jobs in each state, all states included."""
    counts = Counter(one.outcome for one in outcomes)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def is_success(outcomes: Iterable[JobOutcome], *, require_input: bool) -> bool:
    """Whether every job is done, or had nothing to do."""
    fine = {Outcome.SUCCEEDED, Outcome.REUSED} | (set() if require_input else {Outcome.NO_INPUT})
    return all(one.outcome in fine for one in outcomes)


def report_of(
    manifest: FrozenManifest, outcomes: list[JobOutcome], now: datetime, *, is_complete: bool
) -> dict[str, Any]:
    """The report of a run, as `report.json` has it."""
    states = counted(outcomes)
    if sum(states.values()) != len(manifest.jobs):
        raise AssertionError("the states do not add up to the total")
    return {
        "run": manifest.run,
        "created": timestamp(manifest.created),
        "updated": timestamp(now),
        "complete": is_complete,
        "total": len(manifest.jobs),
        "states": states,
        "rows": sum(map(_rows, outcomes)),
        "jobs": [one.as_json() for one in outcomes],
    }


def _rows(one: JobOutcome) -> int:
    report = (one.record and one.record.report) or {}
    return int(report.get("instances", 0))


def _outcome(record: JobRecord | None, look: SurveyedJob | None) -> tuple[Outcome, str]:
    if record is not None and record.state is not JobState.QUEUED:
        return _of_record(record), ""
    if look is not None and look.readiness is Readiness.MISSING_MODEL:
        return Outcome.MISSING_MODEL, look.message
    if look is not None and look.readiness is Readiness.NO_INPUT:
        return Outcome.NO_INPUT, look.message
    return Outcome.NEVER_RAN, ""


def _of_record(record: JobRecord) -> Outcome:
    match record.state:
        case JobState.SUCCEEDED:
            return Outcome.REUSED if _is_reused(record) else Outcome.SUCCEEDED
        case JobState.FAILED | JobState.EXPIRED:
            return Outcome.FAILED
        case JobState.CANCELLED:
            return Outcome.CANCELLED
        case _:
            return Outcome.RUNNING


def _is_reused(record: JobRecord) -> bool:
    """Whether all files were there already. A listed record only counts them."""
    report = record.report or {}
    files = report.get("files", 0)
    if isinstance(files, list):
        return bool(files) and all(file["state"] == "REUSED" for file in files)
    return bool(files) and bool(report.get("files_reused", 0) == files)
