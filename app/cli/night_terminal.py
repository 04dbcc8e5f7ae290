"""What people see of a run: its plan, how far it is, and its verdict."""

import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from app.night.estimate import Estimate
from app.night.reconciliation import JobOutcome, Outcome, counted, is_settled
from app.night.report import error_class
from app.night.report_page import verdict
from app.night.run_night import Night
from app.telemetry.log import RUN_FIELDS, printable

_MOST_SHOWN = 20
_LISTED = 5
_LOG_SECONDS = 30.0
_RATE_SECONDS = 30.0

Told = Callable[[list[JobOutcome]], None]

logger = logging.getLogger(__name__)


def print_plan(night: Night) -> None:
    """The number of jobs by readiness, their files and bytes; and what is missing."""
    jobs = night.manifest.jobs
    counts = Counter(one.readiness for one in jobs)
    words = ", ".join(f"{number:,} {readiness}" for readiness, number in counts.items())
    files = sum(one.files for one in jobs)
    size = sum(one.size for one in jobs)
    _say(
        f"run {night.manifest.run}: {len(jobs):,} jobs ({words}), {files:,} files,"
        f" {size / 1e6:,.1f} MB"
    )
    missing = [one for one in jobs if one.message]
    for one in missing[:_MOST_SHOWN]:
        _say(f"  {one.job.name}: {one.readiness}: {one.message}")
    if len(missing) > _MOST_SHOWN:
        _say(f"  and {len(missing) - _MOST_SHOWN:,} more")


def print_estimate(guess: Estimate) -> None:
    """Seconds and cost, as far as an earlier run tells them."""
    if guess.job_seconds is None or guess.wall_seconds is None or guess.cost is None:
        _say("no earlier run of these models tells how long they take")
        return
    _say(
        f"about {guess.job_seconds:,.0f} s of jobs ({guess.known_jobs:,} of {guess.jobs:,} have run"
        f" before), {guess.wall_seconds / 60:,.1f} minutes with {guess.parallel:,} at a time; in"
        f" instances that are paid for by the second {guess.cost:,.2f} {guess.currency}"
    )


def print_verdict(report: Mapping[str, Any], address: str) -> None:
    """The causes of failures, what has come to nothing, and where the report is."""
    for cause in report["failures"][:_MOST_SHOWN]:
        names = ", ".join(cause["names"][:_LISTED])
        more = ", ..." if cause["count"] > _LISTED else ""
        _say(f"{names}{more}: failed: {cause['reason']}: {cause['message']}")
    _say(f"{verdict(report)}; report: {address}")


@contextmanager
def watching(total: int) -> Iterator[Told]:
    """A live table on a terminal, log records elsewhere; both are told the outcomes so far."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LoggedRun(total).told
        return
    table = _LiveTable(total)
    with Live(table, console=console, transient=True, refresh_per_second=4), _logs_above_it():
        yield table.told


@contextmanager
def _logs_above_it() -> Iterator[None]:
    """Log records go where a live table expects what others print: to sys.stderr as it is now."""
    handlers = [
        one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)
    ]
    before = [one.stream for one in handlers]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream)


class _LoggedRun:
    """A log record each half minute."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._next = time.monotonic() + _LOG_SECONDS

    def told(self, outcomes: list[JobOutcome]) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOG_SECONDS
        done = sum(is_settled(one.outcome) for one in outcomes)
        fields = {RUN_FIELDS: {"states": counted(outcomes), "total": self._total}}
        logger.info("%d of %d jobs have ended", done, self._total, extra=fields)


class _LiveTable:
    """A bar, counts, rows a second, the slowest jobs and the last failures."""

    def __init__(self, total: int) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("starting", total=total)
        self._rows: deque[tuple[float, int]] = deque()
        self._outcomes: list[JobOutcome] = []

    def told(self, outcomes: list[JobOutcome]) -> None:
        counts = counted(outcomes)
        done = sum(is_settled(one.outcome) for one in outcomes)
        rows = sum(_rows(one) for one in outcomes)
        now = time.monotonic()
        self._rows.append((now, rows))
        while self._rows[0][0] < now - _RATE_SECONDS:
            self._rows.popleft()
        (since, before), passed = self._rows[0], now - self._rows[0][0]
        rate = (rows - before) / passed if now > since else 0.0
        words = f"{counts['running']:,} running, {counts['failed']:,} failed, {rate:,.0f} rows/s"
        self._bar.update(self._task, completed=done, description=words)
        self._outcomes = outcomes

    def __rich__(self) -> Group:
        ended = [one for one in self._outcomes if one.record and one.record.end_time]
        slowest = sorted(ended, key=_seconds, reverse=True)[:_LISTED]
        failed = [one for one in ended if one.outcome is Outcome.FAILED]
        failed.sort(key=_end)
        table = Table.grid(padding=(0, 2))
        for one in slowest:
            table.add_row(Text("slow"), Text(printable(one.name)), Text(f"{_seconds(one):.1f} s"))
        for one in failed[-_LISTED:]:
            assert one.record is not None
            table.add_row(Text("failed"), Text(printable(one.name)), Text(error_class(one.record)))
        return Group(self._bar, table)


def _rows(one: JobOutcome) -> int:
    report = (one.record and one.record.report) or {}
    return int(report.get("instances", 0))


def _end(one: JobOutcome) -> datetime:
    assert one.record is not None
    assert one.record.end_time is not None
    return one.record.end_time


def _seconds(one: JobOutcome) -> float:
    return one.record.run_seconds if one.record is not None else 0.0


def _say(text: str) -> None:
    click.echo(printable(text) if sys.stderr.isatty() else text, err=True)
