"""Records in storage: of two writers one fails, and a listing is few requests."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.config.job_spec import parse_job_spec
from app.errors import Aborted, InternalError, NotFound
from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.jobs.store import JobStore
from app.storage import Connections, TransferLimits, parse_location
from tests.app.jobs.test_record import PLACES, record
from tests.fakes.buckets import Bucket
from tests.fakes.processes import fake_gcs_server
from tests.faults.storage_proxy import storage_proxy

RACERS = 8


def open_store(uri: str) -> JobStore:
    folder = parse_location(uri, parameter="JOBS_URI").as_folder()
    return JobStore(folder, Connections(None), TransferLimits(retry_seconds=5))


@pytest.fixture(params=["local", "gs"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gcs_url: str,
    bucket: Bucket,
) -> JobStore:
    if request.param == "local":
        return open_store(str(tmp_path / "jobs"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    return open_store(f"{bucket.uri}/store-{tmp_path.name}/")


def test_a_record_is_created_loaded_replaced_and_deleted(store: JobStore) -> None:
    created = store.create(record())
    assert store.load("a") == created
    running = store.replace(created, created.record.taken("one", now(), 60))
    assert store.load("a") == running
    assert store.all() == [running.record]
    with pytest.raises(Aborted):
        store.replace(created, created.record)
    with pytest.raises(Aborted):
        store.create(record())
    store.delete(created)
    assert store.load("a") == running
    store.delete(running)
    with pytest.raises(NotFound):
        store.load("a")
    assert store.all() == []


def race(write: Callable[[int], object]) -> Counter[str]:
    """How many of some threads that begin together have written."""
    barrier = threading.Barrier(RACERS)

    def attempt(number: int) -> str:
        barrier.wait()
        try:
            write(number)
        except Aborted:
            return "failed"
        return "written"

    with ThreadPoolExecutor(RACERS) as pool:
        return Counter(pool.map(attempt, range(RACERS)))


def test_one_of_many_writers_wins(store: JobStore) -> None:
    for turn in range(10):
        name = f"job-{turn}"
        new = [record(job_id=name, attempts=number) for number in range(RACERS)]
        outcomes = race(lambda number, new=new: store.create(new[number]))  # type: ignore[misc]  # mypy knows no defaults of lambdas
        assert outcomes["written"] == 1
        stored = store.load(name)
        outcomes = race(
            lambda number, stored=stored: store.replace(  # type: ignore[misc]  # ditto
                stored, stored.record.taken(str(number), now(), 60)
            )
        )
        assert outcomes["written"] == 1


def test_changes_of_many_are_all_made(store: JobStore) -> None:
    store.create(record())

    def count(one: JobRecord) -> JobRecord:
        return replace(one, attempts=one.attempts + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.change("a", count), range(20)))
    assert store.load("a").record.attempts == 20


def test_large_records_are_listed_too(store: JobStore) -> None:
    inputs = [f"gs://bkt/{number:0>100}" for number in range(100)]
    large = record(job_id="large", spec=parse_job_spec({**PLACES, "input": inputs}))
    store.create(record())
    store.create(large)
    assert sorted(store.all(), key=lambda one: one.job_id) == [record(), large]


def test_files_of_others_are_no_jobs(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create(record())
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c.json").write_text("{}")
    assert store.all() == [record()]
    with pytest.raises(InternalError, match="no record of a job"):
        store.load("b")


def test_1200_jobs_are_listed_by_two_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage gives 1,000 objects a request, with the metadata that have it all."""
    with fake_gcs_server() as url, storage_proxy(url) as proxy:
        Bucket(url, "many")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        store = open_store("gs://many/jobs/")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.create(record(job_id=f"job-{n}")), range(1200)))
        with proxy.lock:
            proxy.requests.clear()
        assert len(store.all()) == 1200
        assert [request.operation for request in proxy.requests] == ["list", "list"]
