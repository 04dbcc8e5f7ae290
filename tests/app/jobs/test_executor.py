"""Runs under a lease: how they end, and what their records say then."""

import threading
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from app.config.job_spec import parse_job_spec
from app.errors import DeliveryEnded, LeaseHeld, ShuttingDown
from app.job.runner import JobRunner
from app.jobs.executor import JobExecutor
from app.jobs.lease import LeaseLost
from app.jobs.record import Counts, JobRecord, JobState
from app.jobs.record_json import now
from app.jobs.store import JobStore, Stored
from app.settings import Settings
from app.storage import Connections, TransferLimits, parse_location
from tests.fakes.waiting import until

FILES = 8


class Instance:
    """An instance with records of its own, and a job that takes some seconds on any machine."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        self.connections = Connections(None)
        self.settings = Settings(local_roots=None, lease_seconds=2.0, max_attempts=20)
        records = parse_location(str(folder / "records"), parameter="JOBS_URI").as_folder()
        self.store = JobStore(records, self.connections, TransferLimits())
        self.runner = JobRunner(self.settings, self.connections)
        self.executor = JobExecutor(self.settings, self.store, self.runner)
        (folder / "in").mkdir()
        for number in range(FILES):
            (folder / "in" / f"{number}.jsonl").write_text("1.0\n" * 2)
        self.spec = parse_job_spec(
            {
                "model": str(models / "zoo"),
                "signature_name": "slow",
                "input": f"{folder}/in/",
                "output": f"{folder}/out/",
                "batch_size": 1,
            }
        )

    def create(self, **changes: Any) -> Stored:
        record = JobRecord(job_id="a", spec=self.spec, create_time=now(), update_time=now())
        return self.store.create(replace(record, **changes))

    def run(self, stored: Stored, within: float = inf) -> JobRecord:
        with self.runner.alone() as stop_signal:
            return self.executor.run(stored, stop_signal, within=within)

    @property
    def record(self) -> JobRecord:
        return self.store.load("a").record

    def outputs(self) -> dict[str, int]:
        """The time of each output's last change, by name."""
        out = self.folder / "out"
        return {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}


@pytest.fixture
def instance(tmp_path: Path, models: Path) -> Instance:
    return Instance(tmp_path, models)


@pytest.mark.parametrize("force", [False, True])
def test_a_job_goes_on_where_a_delivery_has_ended(instance: Instance, *, force: bool) -> None:
    """Complete files stay, also where a job makes its outputs again."""
    stored = instance.create(spec=replace(instance.spec, force=force))
    (instance.folder / "out").mkdir()
    deliveries = 0
    made: dict[str, int] = {}
    while not stored.record.state.is_final:
        deliveries += 1
        try:
            # Each may take longer than the one before, so that some get further on any machine.
            instance.run(stored, within=1.0 * deliveries)
        except DeliveryEnded:
            assert instance.record.state is JobState.QUEUED
            assert instance.record.lease is None
        now_made = instance.outputs()
        assert made.items() <= now_made.items()
        made = now_made
        stored = instance.store.load("a")
    record = stored.record
    assert record.state is JobState.SUCCEEDED
    assert len(made) == FILES
    assert deliveries >= 2
    # A delivery that has got further is no attempt.
    assert record.attempts < deliveries
    assert record.report is not None
    assert "REUSED" in {file["state"] for file in record.report["files"]}


def test_a_run_without_progress_is_an_attempt(instance: Instance) -> None:
    stored = instance.create()
    with pytest.raises(DeliveryEnded, match="does not fit into the 0.05 s of one delivery"):
        instance.run(stored, within=0.05)
    assert (instance.record.state, instance.record.attempts) == (JobState.QUEUED, 1)
    stored = instance.store.load("a")
    last = instance.store.replace(stored, replace(stored.record, attempts=19))
    assert instance.run(last, within=0.05).state is JobState.FAILED


def test_a_leased_job_is_left_alone(instance: Instance) -> None:
    stored = instance.create()
    held = instance.store.replace(stored, stored.record.taken("another", now(), 60))
    for one in (stored, held):
        with pytest.raises(LeaseHeld) as raised:
            instance.run(one)
        assert raised.value.retry_after_seconds is not None
        assert 1 <= raised.value.retry_after_seconds <= 60
    assert instance.store.load("a") == held


def test_a_lease_that_has_run_out_is_taken_over(instance: Instance) -> None:
    stored = instance.create()
    instance.store.replace(stored, stored.record.taken("dead", now(), 0))
    record = instance.run(stored)
    assert (record.state, record.attempts) == (JobState.SUCCEEDED, 2)


def running(instance: Instance) -> tuple[threading.Thread, list[object]]:
    """The job in a thread, once it has begun; what it returns or raises."""
    stored = instance.create()
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(instance.run(stored))
        except LeaseLost as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: instance.record.lease is not None)
    return thread, outcome


def test_a_job_that_another_instance_takes_over_is_stopped(instance: Instance) -> None:
    """And its record is left to the other one."""
    thread, outcome = running(instance)
    taken = instance.store.change("a", lambda record: record.taken("another", now(), 60))
    thread.join()
    assert isinstance(outcome[0], LeaseLost)
    assert instance.store.load("a") == taken


def test_a_job_whose_record_is_deleted_is_stopped(instance: Instance) -> None:
    thread, outcome = running(instance)
    for path in (instance.folder / "records").iterdir():
        path.unlink()
    thread.join()
    assert isinstance(outcome[0], LeaseLost)
    assert instance.store.all() == []


def test_a_job_is_cancelled_through_another_instance(instance: Instance) -> None:
    thread, outcome = running(instance)
    other = JobExecutor(
        instance.settings, instance.store, JobRunner(instance.settings, instance.connections)
    )
    assert other.cancel("a").state is JobState.CANCELLING
    thread.join()
    assert isinstance(outcome[0], JobRecord)
    assert outcome[0].state is JobState.CANCELLED
    assert instance.record == outcome[0]


def test_a_cancelled_job_stays_so_where_its_run_ends_otherwise(instance: Instance) -> None:
    thread, outcome = running(instance)
    instance.store.change("a", lambda record: record.cancelling(now()))
    instance.runner.end()
    thread.join()
    assert isinstance(outcome[0], JobRecord)
    assert instance.record.state is JobState.CANCELLED


def test_a_job_whose_record_cannot_be_read_is_stopped_in_time(instance: Instance) -> None:
    """Another instance may take it over when its lease ends."""
    thread, outcome = running(instance)
    threading.Event().wait(0.1)  # a change within a tick of the clock would not be seen
    (instance.folder / "records" / "a.json").write_text("damaged")
    thread.join()
    assert isinstance(outcome[0], LeaseLost)


def test_a_dead_run_that_got_further_was_no_attempt(instance: Instance) -> None:
    stored = instance.create()
    dead = stored.record.taken("dead", now(), 0)
    for new_files, attempts in ((1, 1), (0, 2)):
        left = replace(dead, counts=Counts(files=3, new_files=new_files))
        assert left.taken("next", now(), 60).attempts == attempts


def test_progress_is_seen_while_a_job_runs(instance: Instance) -> None:
    thread, outcome = running(instance)
    until(lambda: instance.executor.counts(instance.record).files >= 1)
    until(lambda: instance.record.counts.files >= 1)
    assert instance.record.counts.files_total == FILES
    instance.executor.cancel("a")
    thread.join()
    assert outcome


def test_the_time_of_all_runs_counts(instance: Instance) -> None:
    stored = instance.create(run_seconds=3600.0, attempts=1)
    record = instance.run(stored)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error["status"] == "DEADLINE_EXCEEDED"
    assert instance.outputs() == {}


def test_an_instance_that_ends_gives_the_job_back(instance: Instance) -> None:
    stored = instance.create()
    with instance.runner.alone() as stop_signal:
        threading.Timer(0.3, instance.runner.end).start()
        with pytest.raises(ShuttingDown):
            instance.executor.run(stored, stop_signal, within=inf)
    assert instance.record.state is JobState.QUEUED
    with instance.runner.alone() as stop_signal, pytest.raises(ShuttingDown):
        stop_signal.check()
