"""`embedded-tf jobs`: jobs that last, in a service or straight in their records."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import reduce, wraps
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from app.cli.job_options import given_parameters, job_options, refuse_arguments
from app.cli.job_places import TOKEN_VARIABLE, JobPlace, job_place
from app.cli.terminal import fail, print_json, settings_of_environment
from app.errors import DeadlineExceeded, JobError
from app.telemetry.log import printable, set_up_logging

_PREFIX = "JOB_STATE_"
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
# How long a service may fail for passing reasons while its jobs are waited for.
_PATIENCE_SECONDS = 600.0
_JOB_FAILED = 1

_Command = Callable[..., Any]


@click.group()
def jobs() -> None:
    """Submit, watch and cancel jobs that last."""


def _on_jobs(command: _Command) -> _Command:
    """Give the command the place of the jobs, and say its errors."""

    @wraps(command)
    def wrapped(*, service: str | None, jobs_uri: str | None, **options: Any) -> Any:
        settings = settings_of_environment()
        set_up_logging("WARNING", project=settings.project)
        try:
            place = job_place(settings, service, jobs_uri)
            if place is None:
                raise click.UsageError("give --service, or --jobs-uri, or set JOBS_URI")
            return command(place, **options)
        except JobError as error:
            fail(error)

    options = (
        click.option(
            "--service",
            metavar="URL",
            help=f"The service to ask; {TOKEN_VARIABLE} has its token, where it wants one.",
        ),
        click.option(
            "--jobs-uri", metavar="FOLDER", help="The records themselves.  [default: JOBS_URI]"
        ),
    )
    return reduce(lambda inner, option: option(inner), options, wrapped)


@jobs.command()
@job_options
@click.option("--job-id", help="The job's name.  [default: a random one]")
@click.option("--wait", is_flag=True, help="Wait for the end of the job.")
@click.argument("unexpected", nargs=-1)
@_on_jobs
def submit(
    place: JobPlace, *, job_id: str | None, wait: bool, unexpected: tuple[str, ...], **options: Any
) -> int:
    """Submit a job, and print it."""
    refuse_arguments(unexpected)
    job = place.submit(given_parameters(options), job_id)
    if wait:
        job = _ended(place, job["job_id"], None)
    print_json(job)
    return _status([job]) if wait else 0


@jobs.command()
@click.argument("job_id")
@_on_jobs
def get(place: JobPlace, *, job_id: str) -> None:
    """Print a job: how far it is, or how it ended."""
    print_json(place.get(job_id))


@jobs.command(name="list")
@click.option("--state", default="", help="Only jobs in this state, such as FAILED.")
@click.option("--model", default="", help="Only jobs of this model.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@_on_jobs
def list_(place: JobPlace, *, state: str, model: str, limit: int | None) -> None:
    """List the jobs, the newest first: as a table on a terminal, else as JSON lines."""
    table = _table() if sys.stdout.isatty() else None
    token, left = "", limit
    while True:
        size = 1000 if left is None else min(left, 1000)
        page = place.list(state=state, model=model, page_size=size, page_token=token)
        for job in page["jobs"]:
            if table is None:
                click.echo(_json_line(job))
            else:
                table.add_row(*_cells(job))
        left = None if left is None else left - len(page["jobs"])
        token = page["next_page_token"]
        if not token or left == 0:
            break
    if table is not None:
        Console().print(table)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@click.option("--timeout-seconds", type=float, help="For all of them.  [default: none]")
@_on_jobs
def wait(place: JobPlace, *, job_ids: tuple[str, ...], timeout_seconds: float | None) -> int:
    """Wait until the jobs have ended, and print them. The status is 0 if all have succeeded."""
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    ended = [_ended(place, job_id, until) for job_id in job_ids]
    for job in ended:
        print_json(job)
    return _status(ended)


@jobs.command()
@click.argument("job_id")
@_on_jobs
def cancel(place: JobPlace, *, job_id: str) -> None:
    """Cancel a job. One that is running ends within seconds."""
    print_json(place.cancel(job_id))


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...")
@_on_jobs
def delete(place: JobPlace, *, job_ids: tuple[str, ...]) -> None:
    """Delete the records of jobs that have ended. Outputs stay."""
    for job_id in job_ids:
        place.delete(job_id)


def _ended(place: JobPlace, job_id: str, until: float | None) -> dict[str, Any]:
    """The job once it has ended. Raises DeadlineExceeded after `until`."""
    pause = _FIRST_PAUSE_SECONDS
    job: dict[str, Any] = {"state": "unknown"}
    patience = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            job = place.get(job_id)
            patience = time.monotonic() + _PATIENCE_SECONDS
        except JobError as error:
            if not error.is_retryable or time.monotonic() > patience:
                raise
        if _state(job) in _ENDED:
            return job
        if until is not None and time.monotonic() > until:
            raise DeadlineExceeded(f"job {job_id} is still {_state(job)}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _status(ended: list[dict[str, Any]]) -> int:
    return 0 if all(_state(job) == "SUCCEEDED" for job in ended) else _JOB_FAILED


def _state(job: dict[str, Any]) -> str:
    return str(job["state"]).removeprefix(_PREFIX)


def _table() -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("job", "state", "model", "created"):
        table.add_column(name)
    for name in ("rows", "bad", "seconds"):
        table.add_column(name, justify="right")
    return table


def _cells(job: dict[str, Any]) -> list[str]:
    report = job.get("report", {})
    rows = report.get("instances", job["progress"]["rows"])
    created = datetime.fromisoformat(job["create_time"]).astimezone()
    return [
        printable(cell)
        for cell in (
            job["job_id"],
            _state(job),
            job["parameters"]["model"],
            f"{created:%Y-%m-%d %H:%M:%S}",
            f"{rows:,}",
            f"{report.get('errors', 0):,}",
            f"{job['run_seconds']:,.1f}",
        )
    ]


def _json_line(job: dict[str, Any]) -> str:
    return orjson.dumps(job).decode()
