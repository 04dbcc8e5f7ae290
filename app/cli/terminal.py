"""What the commands print, and how far a job has got."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from app.errors import InvalidArgument, JobError
from app.settings import Settings, SettingsError
from app.telemetry.log import printable
from app.telemetry.progress import LoggedProgress, Progress
from app.telemetry.report import Report

_JOB_FAILED = 1
_USAGE = 2
_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


def settings_of_environment() -> Settings:
    """Raises click.UsageError where a variable cannot be used."""
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def print_json(body: dict[str, Any]) -> None:
    text = orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    # JSON escapes only some of what steers a terminal.
    click.echo(printable(text) if sys.stdout.isatty() else text)


def print_summary(report: Report) -> None:
    """One line for people, on a terminal."""
    if not sys.stderr.isatty():
        return
    instances = sum(file.instances for file in report.files)
    errors = sum(file.errors for file in report.files)
    reused = sum(file.state == "REUSED" for file in report.files)
    seconds = report.seconds.get("predict", 0.0)
    words = [_count(len(report.files), "file"), _count(instances, "row")]
    if errors:
        words.append(_count(errors, "bad row"))
    if reused:
        words.append(f"{reused:,} reused")
    if seconds:
        words.append(f"{instances / seconds:,.0f} rows/s")
    click.echo(printable(f"{', '.join(words)}, in {report.output}"), err=True)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def fail(error: JobError, *, status: int | None = None) -> NoReturn:
    """Prints the error, and exits with `status`; without one, with 2 for a parameter that is wrong,
    with 75 for an error that may pass, else with 1.
    """
    print_json(error.as_json())
    click.echo(printable(f"error: {error.message}"), err=True)
    if command := error.details.get("inspect"):
        click.echo(printable(f"what the model takes: {command}"), err=True)
    is_usage = (error.code, error.status) == (InvalidArgument.code, InvalidArgument.status)
    if status is not None or is_usage:
        sys.exit(_USAGE if status is None else status)
    sys.exit(_TRY_AGAIN if error.is_retryable else _JOB_FAILED)


@contextmanager
def progress(*, bar: bool) -> Iterator[Progress]:
    """A bar on the terminal, if there is one and it is wanted; log records otherwise."""
    console = Console(stderr=True)
    if not (bar and console.is_terminal):
        yield LoggedProgress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as live:
        yield _BarProgress(live)


class _BarProgress:
    """A bar that counts bytes of input."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("starting", total=None)
        self._rows = 0

    def phase(self, name: str) -> None:
        self._bar.update(self._task, description=printable(name))

    def total(self, *, files: int, size: int) -> None:
        self._bar.update(self._task, description=f"{files} files", total=size)

    def files(self, *, done: int, total: int) -> None:
        """The bar counts bytes."""

    def advanced(self, *, rows: int, size: int) -> None:
        self._rows += rows
        self._bar.update(self._task, advance=size, description=f"{self._rows:,} rows")
