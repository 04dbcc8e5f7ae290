"""`embedded-tf fan-out`: many jobs by one command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from app.cli import Ended
from app.cli.job_options import given_parameters, parameter_options
from app.cli.night_terminal import print_plan, print_verdict, watching
from app.cli.terminal import fail, print_json, settings_of_environment
from app.concurrency.deadline import Deadline
from app.errors import InvalidArgument, JobError
from app.jobs.record_json import now
from app.night.local_engine import LocalEngine
from app.night.planned_jobs import PlannedJob, Template, expand_template, read_manifest
from app.night.reconciliation import is_success, report_of
from app.night.run_files import RunFiles, check_run_name
from app.night.run_night import Choice, plan_night, run_night
from app.storage import Connections, Storage, parse_location
from app.telemetry.log import set_up_logging
from tfserving_launcher import available_cpus

_PLAN_SECONDS = 1800.0
_SOME_FAILED = 1


@click.command()
@click.option("--manifest", help="JSON lines or csv: the parameters of a job a line, and its name.")
@click.option("--models", help="Instead of a manifest: folders of models, gs://b/models/*/.")
@click.option("--input", multiple=True, help="Input of each model; {name}, {date} and {date-1}.")
@click.option("--output", help="Output of each model; {name}, {date} and {date-1}.")
@parameter_options
@click.option("--reports", required=True, help="Folder of the reports of all runs.")
@click.option("--run", "run_name", help="Name of this run.  [default: of the manifest and the day]")
@click.option("--date", "day", help="The day of {date}, as 2026-01-31.  [default: today]")
@click.option("--timezone", default="UTC", show_default=True, help="Where today is.")
@click.option("--workers", type=click.IntRange(min=1), help="Jobs at a time.  [default: by CPUs]")
@click.option("--only", multiple=True, metavar="NAME", help="Only this job; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many jobs.")
@click.option("--retry-failed", is_flag=True, help="Run again what has failed in this run.")
@click.option("--require-input", is_flag=True, help="A model without input is a failure.")
@click.option("--dry-run", is_flag=True, help="Show the plan and run nothing.")
def fan_out(
    *,
    manifest: str | None,
    models: str | None,
    reports: str,
    run_name: str | None,
    day: str | None,
    timezone: str,
    workers: int | None,
    only: tuple[str, ...],
    limit: int | None,
    retry_failed: bool,
    require_input: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Run many jobs on this machine: those of a manifest, or one for each model.

    The same command again goes on where it stopped. The exit status is 0 if all jobs are done, 1 if
    some are not, or 2 for wrong usage.
    """
    settings = replace(settings_of_environment(), local_roots=None)
    set_up_logging("WARNING", project=settings.project)
    connections = Connections(settings.project)
    try:
        today = _day(day, timezone)
        storage = Storage(connections=connections, limits=settings.transfer_limits())
        jobs, default_run = _planned(manifest, models, options, today, storage)
        run = check_run_name(run_name or f"{default_run}-{today.isoformat()}")
        folder = parse_location(reports, parameter="reports")
        files = RunFiles(folder, run, connections, settings.transfer_limits())
        if unknown := sorted(set(only) - {job.name for job in jobs}):
            raise InvalidArgument(f"only: there is no job {unknown[0]!r} in this run")
        night = plan_night(
            run,
            jobs,
            files,
            settings=settings,
            connections=connections,
            deadline=Deadline.after(_PLAN_SECONDS),
            freeze=not dry_run,
        )
        print_plan(night)
        if dry_run:
            return 0
        engine = LocalEngine(
            files.records,
            workers or available_cpus() + 1,
            job_seconds=settings.job_timeout_seconds,
        )
        choice = Choice(only, limit, retry_failed)
        with _ctrl_c() as is_stopped, watching(len(night.manifest.jobs)) as told:
            outcomes = run_night(night, engine, choice, told=told, is_stopped=is_stopped)
    except JobError as error:
        fail(error)
    report = report_of(night.manifest, outcomes, now(), is_complete=not is_stopped.is_set())
    print_json({name: report[name] for name in ("run", "total", "states", "rows")})
    print_verdict(outcomes, f"{files.folder}report.json")
    return 0 if is_success(outcomes, require_input=require_input) else _SOME_FAILED


def _planned(
    manifest: str | None,
    models: str | None,
    options: dict[str, Any],
    today: date,
    storage: Storage,
) -> tuple[list[PlannedJob], str]:
    """The jobs, and the name of their manifest or of the models' folder."""
    given = given_parameters(options)
    if (manifest is None) == (models is None):
        raise click.UsageError("give one of --manifest and --models")
    if manifest is not None:
        location = parse_location(manifest, parameter="manifest")
        name = location.path.rpartition("/")[2].partition(".")[0]
        return read_manifest(location, given, today, storage), _run_name(name)
    inputs, output = given.pop("input", ()), given.pop("output", None)
    if not inputs or output is None:
        raise click.UsageError("--models needs --input and --output")
    assert models is not None
    template = Template(models=models, inputs=tuple(inputs), output=output, day=today)
    name = models.partition("*")[0].rstrip("/").rpartition("/")[2]
    return expand_template(template, given, storage), _run_name(name)


def _run_name(name: str) -> str:
    plain = "".join(one if one.isascii() and one.isalnum() else "-" for one in name).strip("-")
    return plain or "run"


def _day(text: str | None, timezone: str) -> date:
    if text is not None:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise InvalidArgument(f"date must be as in 2026-01-31, it is {text!r}") from None
    try:
        return datetime.now(ZoneInfo(timezone)).date()
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidArgument(f"timezone: there is no {timezone!r}") from None


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
