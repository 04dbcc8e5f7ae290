"""`embedded-tf fan-out`: many jobs by one command."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import click

from app.cli import Ended
from app.cli.job_options import given_parameters, parameter_options
from app.cli.night_terminal import print_estimate, print_plan, print_verdict, watching
from app.cli.terminal import fail, print_json, settings_of_environment
from app.concurrency.deadline import Deadline
from app.errors import FailedPrecondition, InvalidArgument, JobError, shortened
from app.jobs.opening import open_queue
from app.jobs.queue import JobQueue
from app.jobs.record_json import now
from app.jobs.store import JobStore
from app.night.announcement import announce, check_notify_url
from app.night.dispatch_limits import check_limits
from app.night.engine import Engine
from app.night.estimate import estimate, load_prices
from app.night.local_engine import LocalEngine, forked_model_servers, workers_that_fit
from app.night.queue_engine import QueueEngine
from app.night.ray_engine import RayEngine, RayOptions
from app.night.run_files import Reports, summary_of
from app.night.run_night import Night, chosen_jobs, plan_night, run_night
from app.night.run_operations import FOLLOW_SECONDS, follow_path
from app.night.run_request import RunRequest, parse_run_request
from app.night.schedule import Refill
from app.night.task_array import Takeover, TaskArray, task_array
from app.settings import Settings
from app.storage import Connections, Storage, parse_location
from app.telemetry.log import set_up_logging

_PLAN_SECONDS = 1800.0
_SOME_FAILED = 1
_USAGE = 2
_ENGINES = ("local", "queue", "array", "ray")
_RUN_OPTIONS = (
    *("manifest", "models", "input", "output", "run", "date", "timezone", "only", "limit"),
    *("retry_failed", "require_input"),
)


@dataclass(frozen=True, slots=True)
class _Where:
    """Where the jobs of a run go."""

    on: str
    workers: int
    waits: bool
    array: TaskArray | None
    queue: JobQueue | None
    ray: RayOptions


@click.command()
@click.option("--manifest", help="JSON lines or csv: the parameters of a job a line, and its name.")
@click.option("--models", help="Instead of a manifest: folders of models, gs://b/models/*/.")
@click.option("--input", multiple=True, help="Input of each model; {name}, {date} and {date-1}.")
@click.option("--output", help="Output of each model; {name}, {date} and {date-1}.")
@parameter_options
@click.option(
    "--reports", envvar="REPORTS_URI", required=True, help="Folder of the reports of all runs."
)
@click.option("--run", help="Name of this run.  [default: of the manifest and the day]")
@click.option("--date", help="The day of {date}, as 2026-01-31.  [default: today]")
@click.option("--timezone", default="UTC", show_default=True, help="Where today is.")
@click.option(
    "--on",
    default="local",
    show_default=True,
    metavar="local|queue|array|ray[=ADDRESS]",
    help="Where jobs run: worker processes, the service behind QUEUE, a task array, or Ray.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Jobs at a time.  [default: what fits]")
@click.option("--wait", "waits", is_flag=True, help="With --on queue: follow the jobs to the end.")
@click.option("--job-cpus", default=1.0, show_default=True, help="With --on ray: of each job.")
@click.option("--job-memory-mb", default=512, show_default=True, help="With --on ray: ditto.")
@click.option("--array-index", type=click.IntRange(min=0), help="[default: as the platform says]")
@click.option("--array-count", type=click.IntRange(min=1), help="[default: as the platform says]")
@click.option("--only", multiple=True, metavar="NAME", help="Only this job; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many jobs.")
@click.option("--retry-failed", is_flag=True, help="Run again what has failed in this run.")
@click.option("--require-input", is_flag=True, help="A model without input is a failure.")
@click.option("--notify", envvar="NOTIFY_URL", help="A chat's webhook for the summary.")
@click.option("--prices", help="JSON file of prices for the estimate.  [default: Cloud Run's]")
@click.option("--dry-run", is_flag=True, help="Show the plan and an estimate, and run nothing.")
def fan_out(
    *,
    reports: str,
    on: str,
    workers: int | None,
    waits: bool,
    job_cpus: float,
    job_memory_mb: int,
    array_index: int | None,
    array_count: int | None,
    notify: str | None,
    prices: str | None,
    dry_run: bool,
    **options: Any,
) -> int:
    """Run many jobs: those of a manifest, or one for each model.

    The same command again goes on where it stopped. The exit status is 0 if all jobs are done, 1 if
    some are not, 2 for a plan that cannot be run, or 75 where storage or the queue fails.
    """
    settings = replace(settings_of_environment(), local_roots=None)
    set_up_logging("INFO" if not sys.stderr.isatty() else "WARNING", project=settings.project)
    connections = Connections(settings.project)
    is_planned = False
    try:
        check_notify_url(notify)
        request = _request(options)
        engine_name, _, address = on.partition("=")
        if engine_name not in _ENGINES or (address and engine_name != "ray"):
            raise InvalidArgument(
                f"on must be local, queue, array or ray[=ADDRESS], it is {shortened(on)!r}"
            )
        where = _Where(
            engine_name,
            workers or workers_that_fit(),
            waits,
            _array(engine_name, array_index, array_count),
            _queue(engine_name, settings, connections),
            RayOptions(address or "auto", job_cpus, job_memory_mb * 1_000_000),
        )
        if where.queue is not None:
            _check_queue(settings, where.queue)
        is_local = where.on in ("local", "array") and not dry_run
        with forked_model_servers() if is_local else nullcontext():
            deadline = Deadline.after(_PLAN_SECONDS)
            limits = settings.transfer_limits()
            storage = Storage(connections=connections, deadline=deadline, limits=limits)
            night = plan_night(
                request,
                Reports(
                    parse_location(reports, parameter="reports"),
                    connections,
                    limits,
                    settings.project,
                ),
                settings.jobs_uri if where.queue is not None else None,
                storage=storage,
                deadline=deadline,
                freeze=not dry_run,
            )
            print_plan(night)
            if dry_run:
                _print_estimate(night, request, settings, where, prices)
                return 0
            is_planned = True
            report, is_stopped = _run(night, request, settings, where, notify)
    except JobError as error:
        # Until jobs run, whatever is wrong is wrong with the command.
        fail(error, status=None if is_planned or error.is_retryable else _USAGE)
    print_json(summary_of(report))
    print_verdict(report, str(night.reports.run(request.run).report))
    return _exit_status(report, where, is_stopped=is_stopped)


def _run(
    night: Night, request: RunRequest, settings: Settings, where: _Where, notify: str | None
) -> tuple[dict[str, Any], bool]:
    """The report, and whether somebody has stopped the run. Raises what has ended it early."""

    def ended(report: Mapping[str, Any]) -> None:
        # Of the tasks of an array, the first that sees the end tells it.
        if where.array is None or not night.is_known_to_be_complete():
            announce(report, notify)

    part: frozenset[str] | None = None
    engine: Engine
    if where.queue is not None:
        engine = QueueEngine(night.store, where.queue, night.records, waits=where.waits)
    elif where.on == "ray":
        engine = RayEngine(
            night.manifest.records, where.ray, job_seconds=settings.job_timeout_seconds
        )
    else:
        refill: Refill = lambda: ()  # noqa: E731  # what a schedule without others has
        if where.array is not None:
            chosen = chosen_jobs(night, request.choice, night.records())
            refill = Takeover(night, chosen, 2 * where.workers)
            part = where.array.names_of_part(night.manifest.jobs)
        engine = LocalEngine(
            night.manifest.records,
            where.workers,
            job_seconds=settings.job_timeout_seconds,
            refill=refill,
        )
    with _ctrl_c() as is_stopped, watching(len(night.manifest.jobs)) as told:
        report = run_night(
            night,
            engine,
            request.choice,
            told=told,
            ended=ended,
            is_stopped=is_stopped,
            part=part,
            is_reporter=where.array is None or where.array.index == 0,
            is_last_word=where.queue is None or where.waits,
        )
    if where.queue is not None and not report["complete"] and _is_of_service(night, settings):
        where.queue.call_later(follow_path(request.run), lambda: None, FOLLOW_SECONDS)
    if engine.errors:
        raise engine.errors[0]
    return report, is_stopped.is_set()


def _is_of_service(night: Night, settings: Settings) -> bool:
    """Whether the service behind the queue has the same folder of reports."""
    return settings.reports_uri == night.reports.folder


def _exit_status(report: dict[str, Any], where: _Where, *, is_stopped: bool) -> int:
    if where.array is not None:
        # A platform would repeat the whole task for one bad model.
        return _SOME_FAILED if is_stopped else 0
    if where.queue is not None and not where.waits:
        states = report["states"]
        return _SOME_FAILED if states["missing model"] else 0
    return 0 if report["success"] else _SOME_FAILED


def _request(options: dict[str, Any]) -> RunRequest:
    """Raises InvalidArgument."""
    ours = {name: options.pop(name) for name in _RUN_OPTIONS}
    body = {name: value for name, value in ours.items() if value not in (None, (), False)}
    return parse_run_request({**given_parameters(options), **body}, now(), relative_paths=True)


def _array(on: str, index: int | None, count: int | None) -> TaskArray | None:
    return task_array(os.environ, index=index, count=count) if on == "array" else None


def _queue(on: str, settings: Settings, connections: Connections) -> JobQueue | None:
    if on != "queue":
        return None
    if settings.queue is None or settings.jobs_uri is None:
        raise FailedPrecondition(
            "--on queue needs QUEUE, SERVICE_URL and JOBS_URI in the environment, as the service"
            " has them"
        )
    store = JobStore(settings.jobs_uri, connections, settings.transfer_limits())
    return open_queue(settings, store)


def _check_queue(settings: Settings, queue: JobQueue) -> None:
    """Raises FailedPrecondition for limits that do not fit."""
    check = check_limits(settings, queue.limits())
    for warning in check.warnings:
        click.echo(f"note: {warning}", err=True)
    check.refuse_problems()


def _print_estimate(
    night: Night, request: RunRequest, settings: Settings, where: _Where, prices: str | None
) -> None:
    parallel = where.workers
    if where.queue is not None:
        found = where.queue.limits()
        at_once = [settings.max_instances, found and found.max_concurrent_dispatches]
        parallel = min((number for number in at_once if number), default=1)
    elif where.array is not None:
        parallel = where.workers * where.array.count
    chosen: Sequence[Any] = chosen_jobs(night, request.choice, {})
    guess = estimate(chosen, night.report_before(), load_prices(prices), parallel)
    print_estimate(guess)
    print_json(guess.as_json())


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """The first Ctrl-C lets running jobs end; the second one stops them, as SIGTERM does."""
    is_stopped = threading.Event()

    def stop(number: int, _frame: Any) -> None:
        if is_stopped.is_set() or number != signal.SIGINT:
            raise Ended(number)
        is_stopped.set()
        click.echo("running jobs end, and no others begin; Ctrl-C again stops them", err=True)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield is_stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
