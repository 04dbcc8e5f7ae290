"""What became of each job of a run. Every name is in exactly one state."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.jobs.record import JobRecord, JobState
from app.night.frozen_manifest import FrozenManifest
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

    surveyed: SurveyedJob
    job_id: str
    outcome: Outcome
    record: JobRecord | None

    @property
    def name(self) -> str:
        return self.surveyed.job.name


def reconcile(manifest: FrozenManifest, records: Mapping[str, JobRecord]) -> list[JobOutcome]:
    """The outcome of each job of the manifest, by its record. `records` are by job id."""
    outcomes = []
    for one in manifest.jobs:
        job_id = manifest.job_id(one.job)
        record = records.get(job_id)
        outcomes.append(JobOutcome(one, job_id, _outcome(record, one), record))
    return outcomes


def counted(outcomes: Iterable[JobOutcome]) -> dict[str, int]:
    """The number of jobs in each state, all states included."""
    counts = Counter(one.outcome for one in outcomes)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def is_success(outcomes: Iterable[JobOutcome], *, require_input: bool) -> bool:
    """Whether every job is done, or had nothing to do."""
    fine = {Outcome.SUCCEEDED, Outcome.REUSED} | (set() if require_input else {Outcome.NO_INPUT})
    return all(one.outcome in fine for one in outcomes)


def is_settled(outcome: Outcome) -> bool:
    """Whether a job stays as it is, unless somebody calls the run again."""
    return outcome not in (Outcome.RUNNING, Outcome.NEVER_RAN)


def _outcome(record: JobRecord | None, look: SurveyedJob) -> Outcome:
    if record is not None:
        # Also where it could not run when the manifest was frozen: what was missing has come.
        return Outcome.NEVER_RAN if record.state is JobState.QUEUED else _of_record(record)
    match look.readiness:
        case Readiness.MISSING_MODEL:
            return Outcome.MISSING_MODEL
        case Readiness.NO_INPUT:
            return Outcome.NO_INPUT
        case _:
            return Outcome.NEVER_RAN


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
