"""What a service does with runs: begin them, follow them, and tell of them."""

import logging
import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from app.concurrency.deadline import Deadline
from app.errors import FailedPrecondition, NotFound
from app.jobs.queue import JobQueue
from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.night.announcement import announce
from app.night.dispatch_limits import check_limits
from app.night.queue_engine import QueueEngine, are_alive
from app.night.reconciliation import reconcile
from app.night.run_files import Reports
from app.night.run_night import load_night, plan_night, report_now, run_night
from app.night.run_request import RunRequest
from app.settings import Settings
from app.storage import Connections, Storage

# Cloud Scheduler waits at most 30 minutes: cloud.google.com/scheduler/docs/reference/rest/v1/
# projects.locations.jobs, attemptDeadline.
_PLAN_SECONDS = 1700.0
FOLLOW_SECONDS = 30.0
# Jobs of which nothing was heard for so long are asked after.
_QUIET_SECONDS = 300.0
_MOST_LISTED = 100

logger = logging.getLogger(__name__)


def follow_path(run: str) -> str:
    """Where a service is asked to follow a run."""
    return f"/runs/{run}:follow"


class RunOperations:
    """Runs whose jobs this service does, in the folder REPORTS_URI."""

    def __init__(self, settings: Settings, connections: Connections, queue: JobQueue) -> None:
        self._settings = settings
        self._connections = connections
        self._queue = queue

    def fan_out(self, request: RunRequest) -> dict[str, Any]:
        """Plan a run, record its jobs, put them into the queue; return the report so far.

        Doing so again goes on where it stopped. Raises InvalidPlan, and FailedPrecondition if the
        queue would flood the service.
        """
        settings = self._settings
        if settings.queue is not None:
            check_limits(settings, self._queue.limits()).refuse_problems()
        deadline = Deadline.after(_PLAN_SECONDS)
        storage = Storage(
            connections=self._connections,
            deadline=deadline,
            limits=settings.transfer_limits(),
            local_roots=settings.local_roots,
            allowed_uri_prefixes=settings.allowed_uri_prefixes,
            reserved=settings.own_folders(),
        )
        night = plan_night(
            request, self._reports, settings.jobs_uri, storage=storage, deadline=deadline
        )
        engine = QueueEngine(night.store, self._queue, night.records, waits=False)
        report = run_night(
            night,
            engine,
            request.choice,
            told=lambda _: None,
            ended=lambda report: announce(report, settings.notify_url),
            is_stopped=threading.Event(),
            is_reporter=False,
            is_last_word=False,
        )
        if not report["complete"]:
            self._follow_later(request.run)
        if engine.errors:
            # Some jobs are in the queue. Who calls again has the others put there.
            raise engine.errors[0]
        return report

    def report(self, run: str) -> dict[str, Any]:
        """The report as it is now. Changes nothing. Raises NotFound."""
        report = report_now(run, self._reports)
        if report is None:
            raise NotFound(f"there is no run {run}")
        return report

    def summaries(self) -> list[dict[str, Any]]:
        """What the latest runs came to, the newest first."""
        return self._reports.summaries(_MOST_LISTED)

    def follow(self, run: str) -> dict[str, Any]:
        """Write the report anew, and come back later unless the run has ended; return the report.

        A run has ended once each job has settled, or once no instance runs one and the queue has
        given up the others. Raises NotFound if there is no run any more.
        """
        report = self._summary(run)
        if report is not None and report["complete"]:
            return report
        night = load_night(run, self._reports)
        if night is None:
            raise NotFound(f"there is no run {run}")
        records = night.records()
        outcomes = reconcile(night.manifest, records)
        is_given_up = self._is_given_up(night.manifest.created, records.values())
        report = night.report(
            outcomes, night.report_before(), is_complete=True if is_given_up else None
        )
        if report["complete"]:
            # Before it is written: who is stopped in between tells it again, and not never.
            announce(report, self._settings.notify_url)
        night.write(report)
        if not report["complete"]:
            self._follow_later(run)
        return report

    def _summary(self, run: str) -> dict[str, Any] | None:
        """None where it cannot be read, since it is written anew."""
        try:
            return self._reports.run(run).load_summary()
        except FailedPrecondition as error:
            logger.warning("%s", error)
            return None

    def _follow_later(self, run: str) -> None:
        def follow() -> None:
            try:
                self.follow(run)
            except NotFound as error:
                logger.warning("%s", error)

        self._queue.call_later(follow_path(run), follow, FOLLOW_SECONDS)

    def _is_given_up(self, created: datetime, records: Collection[JobRecord]) -> bool:
        pending = [record for record in records if not record.state.is_final]
        latest = max((record.update_time for record in records), default=created)
        if now() - latest < timedelta(seconds=_QUIET_SECONDS):
            return False
        return not are_alive(pending, self._queue)

    @property
    def _reports(self) -> Reports:
        settings = self._settings
        if settings.reports_uri is None:
            raise FailedPrecondition("this instance keeps no reports: REPORTS_URI is not set")
        return Reports(
            settings.reports_uri, self._connections, settings.transfer_limits(), settings.project
        )
