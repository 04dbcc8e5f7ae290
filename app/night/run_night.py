"""plan_night() and run_night(): the whole story of a run."""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.concurrency.deadline import Deadline
from app.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from app.jobs.record import JobRecord, JobState
from app.jobs.record_json import now
from app.jobs.store import JobStore
from app.night.engine import Engine
from app.night.frozen_manifest import FrozenManifest, new_token
from app.night.planned_jobs import InvalidPlan
from app.night.reconciliation import JobOutcome, reconcile
from app.night.report import report_of
from app.night.report_page import report_page
from app.night.run_files import Reports
from app.night.run_request import Choice, RunRequest
from app.night.survey import Readiness, SurveyedJob, survey, survey_unready
from app.storage import Location, Storage

_REPORT_EVERY_SECONDS = 10.0
# Of the time, writing reports takes at most one part in so many.
_REPORT_SHARE = 20
_TURN_SECONDS = 0.5
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_ENDED_BADLY = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)

logger = logging.getLogger(__name__)

Told = Callable[[list[JobOutcome]], None]


@dataclass(frozen=True, slots=True)
class Night:
    """A run: the list that it is held against, with what is there for each job now; its reports,
    and the records of its jobs.
    """

    manifest: FrozenManifest
    reports: Reports
    store: JobStore

    def records(self) -> dict[str, JobRecord]:
        """Those of the run's jobs, briefly, by job id."""
        prefix = self.manifest.job_id_prefix
        return {record.job_id: record for record in self.store.all(prefix)}

    def report_before(self) -> dict[str, Any] | None:
        """The report of the run that this one is compared with."""
        before = self.manifest.compared_with
        if not before:
            return None
        try:
            return self.reports.run(before).load_report()
        except FailedPrecondition as error:
            logger.warning("the run is compared with none: %s", error)
            return None

    def draft(self, one: SurveyedJob) -> JobRecord:
        """The record of a job that has not begun."""
        created = now()
        return JobRecord(
            job_id=self.manifest.job_id(one.job),
            spec=one.job.spec,
            create_time=created,
            update_time=created,
            parent=f"runs/{self.manifest.run}",
            resource={"displayName": one.job.name},
        )

    def report(
        self,
        outcomes: list[JobOutcome],
        previous: Mapping[str, Any] | None,
        *,
        is_complete: bool | None,
    ) -> dict[str, Any]:
        """See report_of()."""
        return report_of(self.manifest, outcomes, now(), is_complete=is_complete, previous=previous)

    def is_known_to_be_complete(self) -> bool:
        """Whether a report says so already."""
        summary = self.reports.run(self.manifest.run).load_summary()
        return summary is not None and bool(summary["complete"])

    def write(self, report: Mapping[str, Any]) -> None:
        """Write the report and its page."""
        page = report_page(report, project=self.reports.project)
        self.reports.run(self.manifest.run).write_report(report, page)


def plan_night(
    request: RunRequest,
    reports: Reports,
    records: Location | None,
    *,
    storage: Storage,
    deadline: Deadline,
    freeze: bool = True,
) -> Night:
    """Plan a run, look at all its jobs, and freeze them.

    A run that was frozen before keeps its jobs and its folder of records, and only those that could
    not run are looked at again. `records` None is a folder beside the report. Without `freeze`
    nothing is written. Raises InvalidPlan before anything is, and AlreadyExists if the name is that
    of a run with another plan.
    """
    content = request.plan.content(storage)
    plan = request.plan.as_json(content)
    manifest = reports.run(request.run).load_manifest()
    if manifest is None:
        try:
            surveyed = survey(request.plan.jobs(content, storage), storage, deadline)
        except InvalidPlan as error:
            # All that is wrong is told at once.
            survey(error.jobs, storage, deadline, error.problems)
            raise
        manifest = FrozenManifest(
            run=request.run,
            token=new_token(),
            created=now(),
            plan=plan,
            records=records or reports.run(request.run).records,
            compared_with=_run_before(request.run, reports),
            require_input=request.plan.require_input,
            jobs=tuple(surveyed),
        )
        if freeze:
            manifest = reports.run(request.run).freeze(manifest)
    else:
        _check_same_plan(plan, manifest)
        surveyed = survey_unready(manifest.jobs, storage, deadline)
        manifest = replace(manifest, jobs=tuple(surveyed))
    _check_same_plan(plan, manifest)
    if records is not None and manifest.records != records:
        raise FailedPrecondition(
            f"run {request.run} was begun elsewhere: the records of its jobs are in"
            f" {manifest.records}, and those of this service in {records}; give it another name"
        )
    if unknown := sorted(set(request.choice.only) - {one.job.name for one in manifest.jobs}):
        raise InvalidArgument(f"only: there is no job {unknown[0]!r} in run {request.run}")
    return Night(manifest, reports, reports.store(manifest.records))


def run_night(
    night: Night,
    engine: Engine,
    choice: Choice,
    *,
    told: Told,
    ended: Callable[[Mapping[str, Any]], None],
    is_stopped: threading.Event,
    part: frozenset[str] | None = None,
    is_reporter: bool = True,
    is_last_word: bool = True,
) -> dict[str, Any]:
    """Run the chosen jobs that are ready, and reconcile all of them; return the report.

    Calls `told` with the outcomes so far, now and then, and `ended` with the report if it is
    complete, before it is written. Once `is_stopped` is set, running jobs end and no others begin.
    Of the jobs only those named in `part` are begun, if there is one. Only the `reporter` writes
    reports before the end. The report says that it is complete if each job has settled; also if
    nothing was stopped and this call has the `last word`.
    """
    records = night.records()
    previous = night.report_before()
    chosen = [
        one for one in chosen_jobs(night, choice, records) if part is None or one.job.name in part
    ]
    chosen.sort(key=lambda one: one.size, reverse=True)
    lock = threading.Lock()
    drafts = {draft.job_id: draft for draft in map(night.draft, chosen)}

    def begun(job_id: str) -> None:
        with lock:
            draft = records.get(job_id) or drafts.get(job_id)
            if draft is not None:
                records[job_id] = replace(draft, state=JobState.RUNNING)

    def changed(record: JobRecord) -> None:
        with lock:
            records[record.job_id] = record

    def outcomes() -> list[JobOutcome]:
        with lock:
            return reconcile(night.manifest, records)

    next_report = 0.0
    with engine.running(list(drafts.values()), begun=begun, changed=changed) as threads:
        while any(thread.is_alive() for thread in threads):
            if is_stopped.is_set():
                engine.begin_no_more()
            so_far = outcomes()
            told(so_far)
            started = time.monotonic()
            if is_reporter and started >= next_report:
                night.write(night.report(so_far, previous, is_complete=False))
                took = time.monotonic() - started
                next_report = started + max(_REPORT_EVERY_SECONDS, took * _REPORT_SHARE)
            next(filter(threading.Thread.is_alive, threads), threads[0]).join(_TURN_SECONDS)
    # What others have done meanwhile, and what has been given back.
    records.update(night.records())
    final = outcomes()
    told(final)
    is_over = is_last_word and not is_stopped.is_set() and not engine.errors
    report = night.report(final, previous, is_complete=True if is_over else None)
    if report["complete"]:
        ended(report)
    night.write(report)
    return report


def load_night(run: str, reports: Reports) -> Night | None:
    """A run that was planned before; None if there is none. Raises InvalidArgument."""
    manifest = reports.run(run).load_manifest()
    return None if manifest is None else Night(manifest, reports, reports.store(manifest.records))


def report_now(run: str, reports: Reports) -> dict[str, Any] | None:
    """The report of a run as its records tell it now. Writes nothing. None if there is no run."""
    report = reports.run(run).load_report()
    if report is not None and report["complete"]:
        return report
    night = load_night(run, reports)
    if night is None:
        return None
    outcomes = reconcile(night.manifest, night.records())
    return report_of(night.manifest, outcomes, now(), previous=night.report_before())


def chosen_jobs(
    night: Night, choice: Choice, records: Mapping[str, JobRecord]
) -> list[SurveyedJob]:
    """The jobs to run: those that are ready, and have not failed before.

    Those that are not done come first, so that a `limit` again and again comes to the end.
    """
    chosen = []
    for one in night.manifest.jobs:
        record = records.get(night.manifest.job_id(one.job))
        has_failed = record is not None and record.state in _ENDED_BADLY
        if choice.only and one.job.name not in choice.only:
            continue
        if one.readiness is Readiness.READY and (choice.retry_failed or not has_failed):
            chosen.append(one)
    if choice.limit is None:
        return chosen
    chosen.sort(key=lambda one: _is_done(records.get(night.manifest.job_id(one.job))))
    return chosen[: choice.limit]


def _is_done(record: JobRecord | None) -> bool:
    return record is not None and record.state is JobState.SUCCEEDED


def _run_before(run: str, reports: Reports) -> str:
    """The run of the last day before whose name differs in nothing but the date; or empty."""
    name = _DATE.sub("", run)
    if name == run:
        return ""
    before = [one for one in reports.names() if _DATE.sub("", one) == name and one < run]
    return before[-1] if before else ""


def _check_same_plan(plan: Mapping[str, Any], manifest: FrozenManifest) -> None:
    if manifest.plan != plan:
        names = {*plan, *manifest.plan}
        differing = sorted(name for name in names if plan.get(name) != manifest.plan.get(name))
        raise AlreadyExists(
            f"there is a run {manifest.run} with another plan ({', '.join(differing)} differ):"
            " give this one a name of its own"
        )
