"""What people see of a run: its plan, how far it is, and its verdict."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.night.reconciliation import JobOutcome, Outcome, counted
from app.night.run_night import Night
from app.telemetry.log import printable

_MOST_SHOWN = 20
_UNFINISHED = (Outcome.RUNNING, Outcome.NEVER_RAN)

Told = Callable[[list[JobOutcome]], None]


def print_plan(night: Night) -> None:
    """The number of jobs by readiness, their files and bytes; and what is missing."""
    counts = Counter(one.readiness for one in night.surveyed)
    words = ", ".join(f"{number:,} {readiness}" for readiness, number in counts.items())
    files = sum(one.files for one in night.surveyed)
    size = sum(one.size for one in night.surveyed)
    _say(
        f"run {night.manifest.run}: {len(night.surveyed):,} jobs ({words}), {files:,} files,"
        f" {size / 1e6:,.1f} MB"
    )
    missing = [one for one in night.surveyed if one.message]
    for one in missing[:_MOST_SHOWN]:
        _say(f"  {one.job.name}: {one.readiness}: {one.message}")
    if len(missing) > _MOST_SHOWN:
        _say(f"  and {len(missing) - _MOST_SHOWN:,} more")


def print_verdict(outcomes: list[JobOutcome], report: str) -> None:
    """The jobs that are not done, by name, and where the report is."""
    failed = [one for one in outcomes if one.outcome in (Outcome.FAILED, Outcome.CANCELLED)]
    for one in failed[:_MOST_SHOWN]:
        error = (one.record and one.record.error) or {}
        _say(f"{one.name}: {one.outcome}: {error.get('message', '')}")
    if len(failed) > _MOST_SHOWN:
        _say(f"and {len(failed) - _MOST_SHOWN:,} more")
    words = ", ".join(
        f"{number:,} {state}" for state, number in counted(outcomes).items() if number
    )
    _say(f"{words}; report: {report}")


@contextmanager
def watching(total: int) -> Iterator[Told]:
    """A bar on a terminal, which is told the outcomes so far; elsewhere nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def told(outcomes: list[JobOutcome]) -> None:
            done = sum(one.outcome not in _UNFINISHED for one in outcomes)
            failed = sum(one.outcome is Outcome.FAILED for one in outcomes)
            words = f"{failed:,} failed" if failed else "jobs"
            bar.update(task, completed=done, description=words)

        yield told


def _say(text: str) -> None:
    click.echo(printable(text) if sys.stderr.isatty() else text, err=True)
