"""run_night(): the whole story of a run."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from app.concurrency.deadline import Deadline
from app.errors import Aborted, NotFound
from app.jobs.record import JobRecord, JobState
from app.jobs.record_json import now, parse_record
from app.jobs.store import JobStore
from app.night.local_engine import LocalEngine
from app.night.planned_jobs import PlannedJob
from app.night.reconciliation import JobOutcome, reconcile, report_of
from app.night.run_files import FrozenManifest, RunFiles
from app.night.survey import Readiness, SurveyedJob, survey
from app.settings import Settings
from app.storage import Connections, Storage

_PARALLEL_RECORDS = 16
_REPORT_EVERY_SECONDS = 10.0
_TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs of a run a call begins: those named, at most `limit`, failed ones or not."""

    only: tuple[str, ...] = ()
    limit: int | None = None
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class Night:
    """A run that is about to begin: its files, its records, and what is there for each job."""

    manifest: FrozenManifest
    files: RunFiles
    store: JobStore
    surveyed: list[SurveyedJob]


def plan_night(
    run: str,
    jobs: list[PlannedJob],
    files: RunFiles,
    *,
    settings: Settings,
    connections: Connections,
    deadline: Deadline,
    freeze: bool = True,
) -> Night:
    """Look at all jobs, and freeze them. A run that was frozen before keeps its jobs.

    Without `freeze` nothing is written. Raises InvalidPlan before anything is.
    """
    storage = Storage(connections=connections, deadline=deadline, limits=settings.transfer_limits())
    surveyed = survey(jobs, storage, deadline)
    manifest = FrozenManifest(run, now(), tuple(jobs))
    manifest = files.freeze(manifest) if freeze else files.load_manifest() or manifest
    if manifest.jobs != tuple(jobs):
        surveyed = survey(list(manifest.jobs), storage, deadline)
    store = JobStore(files.records, connections, settings.transfer_limits())
    return Night(manifest, files, store, surveyed)


def run_night(
    night: Night,
    engine: LocalEngine,
    choice: Choice,
    *,
    told: Callable[[list[JobOutcome]], None],
    is_stopped: threading.Event,
) -> list[JobOutcome]:
    """Run the jobs that are ready, and reconcile all of them; return what became of each.

    Calls `told` with the outcomes so far, now and then. Once `is_stopped` is set, running jobs end
    and no others begin.
    """
    records = {record.job_id: record for record in night.store.all()}
    chosen = _chosen(night, choice, records)
    _submit(night, chosen, records)
    order = sorted(chosen, key=lambda one: one.size, reverse=True)
    lock = threading.Lock()

    def begun(job_id: str) -> None:
        with lock:
            records[job_id] = replace(records[job_id], state=JobState.RUNNING)

    def ended(body: Mapping[str, Any]) -> None:
        record = parse_record(body)
        with lock:
            records[record.job_id] = record

    def outcomes() -> list[JobOutcome]:
        with lock:
            return reconcile(night.manifest, night.surveyed, records)

    job_ids = [night.manifest.job_id(one.job) for one in order]
    next_report = 0.0
    with engine.running(job_ids, begun=begun, ended=ended) as threads:
        while any(thread.is_alive() for thread in threads):
            if is_stopped.is_set():
                engine.begin_no_more()
            so_far = outcomes()
            told(so_far)
            if time.monotonic() >= next_report:
                _report(night, so_far, is_complete=False)
                next_report = time.monotonic() + _REPORT_EVERY_SECONDS
            threads[0].join(_TURN_SECONDS)
    # What others have done meanwhile, and what has been given back.
    records.update((record.job_id, record) for record in night.store.all())
    final = outcomes()
    told(final)
    _report(night, final, is_complete=not is_stopped.is_set())
    return final


def _chosen(night: Night, choice: Choice, records: Mapping[str, JobRecord]) -> list[SurveyedJob]:
    """The jobs to run: those that are ready, and have not failed before."""
    chosen = []
    for one in night.surveyed:
        record = records.get(night.manifest.job_id(one.job))
        has_failed = record is not None and record.state in (
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.EXPIRED,
        )
        if choice.only and one.job.name not in choice.only:
            continue
        if one.readiness is Readiness.READY and (choice.retry_failed or not has_failed):
            chosen.append(one)
    return chosen if choice.limit is None else chosen[: choice.limit]


def _submit(night: Night, chosen: list[SurveyedJob], records: dict[str, JobRecord]) -> None:
    """Record new jobs, and open again those that have ended: outputs tell what is done."""

    def submit(one: SurveyedJob) -> JobRecord:
        job_id = night.manifest.job_id(one.job)
        created = now()
        new = JobRecord(
            job_id=job_id,
            spec=one.job.spec,
            create_time=created,
            update_time=created,
            parent=f"runs/{night.manifest.run}",
            resource={"displayName": one.job.name},
        )
        if job_id not in records:
            try:
                return night.store.create(new).record
            except Aborted:
                pass  # another call of this run has recorded it
        try:
            return night.store.change(job_id, _reopened).record
        except NotFound:
            return night.store.create(new).record

    with ThreadPoolExecutor(_PARALLEL_RECORDS) as pool:
        for record in pool.map(submit, chosen):
            records[record.job_id] = record


def _reopened(record: JobRecord) -> JobRecord:
    return record.reopened(now()) if record.state.is_final else record


def _report(night: Night, outcomes: list[JobOutcome], *, is_complete: bool) -> None:
    night.files.write_report(report_of(night.manifest, outcomes, now(), is_complete=is_complete))
