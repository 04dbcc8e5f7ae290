"""Model servers that are kept after their jobs: KEEP_MODELS."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.buckets import Bucket
from tests.fakes.processes import NOT_FORKED, answers
from tests.fakes.waiting import until
from tests.faults.world import model_servers
from tests.integration.one_row_jobs import FIRST, SECOND, Jobs, Start, copy, was_kept
from tfserving_launcher import FORK_SERVER_VARIABLE, needs_stand_in


def test_the_next_job_of_a_model_starts_nothing(
    start: Start, bucket: Bucket, models: Path, temporary_folder: Path
) -> None:
    model = copy(bucket, models, "kept/next")
    with start(KEEP_MODELS="1", PRIVATE_FOLDERS=str(temporary_folder)) as service:
        jobs = Jobs(bucket, service, "kept-next")
        first, second = jobs.run(model), jobs.run(model)
        servers = model_servers(service)
        third = jobs.run(model)
        assert [was_kept(one) for one in (first, second, third)] == [False, True, True]
        assert first["prediction"] == second["prediction"] == third["prediction"]
        assert model_servers(service) == servers
        assert second["storage_requests"]["list"] == first["storage_requests"]["list"]
        reads = second["storage_requests"]["read"]
        assert reads == 1, "the model was fetched again"


def test_nothing_is_kept_unless_asked_for(start: Start, bucket: Bucket, models: Path) -> None:
    model = copy(bucket, models, "kept/default")
    with start() as service:
        jobs = Jobs(bucket, service, "kept-default")
        assert not was_kept(jobs.run(model))
        assert not was_kept(jobs.run(model))


def test_a_model_that_changed_is_replaced(start: Start, bucket: Bucket, models: Path) -> None:
    model = copy(bucket, models, "kept/changed")
    with start(KEEP_MODELS="3") as service:
        jobs = Jobs(bucket, service, "kept-changed")
        old = jobs.run(model)["prediction"]
        copy(bucket, models, "kept/changed", SECOND)
        with_new_version = jobs.run(model)
        assert with_new_version["model_version"] == SECOND
        assert not was_kept(with_new_version)
        assert with_new_version["prediction"] != old
        # The same names with other content.
        bucket.put_folder(f"kept/changed/{SECOND}", models / "linear" / FIRST)
        overwritten = jobs.run(model)
        assert not was_kept(overwritten)
        assert overwritten["prediction"] == old
        assert was_kept(jobs.run(model))


def test_a_local_model_that_changed_is_replaced(
    start: Start, bucket: Bucket, models: Path, local_root: Path
) -> None:
    folder = local_root / "kept-local"
    shutil.copytree(models / "linear" / FIRST, folder / "1")
    with start(KEEP_MODELS="3") as service:
        jobs = Jobs(bucket, service, "kept-local")
        old = jobs.run(str(folder))
        assert was_kept(jobs.run(str(folder)))
        shutil.rmtree(folder / "1")
        shutil.copytree(models / "linear" / SECOND, folder / "1")
        new = jobs.run(str(folder))
        assert not was_kept(new)
        assert new["prediction"] != old["prediction"]


def test_a_local_model_of_the_same_sizes_and_times_is_noticed(
    start: Start, bucket: Bucket, models: Path, local_root: Path
) -> None:
    """As archives leave it that are made to be the same each time."""
    folder = local_root / "kept-same-times"

    def put(version: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(models / "linear" / version, folder / "1")
        (folder / "1" / "fingerprint.pb").unlink()
        for path in folder.rglob("*"):
            os.utime(path, (0, 0))

    with start(KEEP_MODELS="1") as service:
        jobs = Jobs(bucket, service, "kept-same-times")
        put(FIRST)
        old = jobs.run(str(folder))
        put(SECOND)
        new = jobs.run(str(folder))
        assert not was_kept(new)
        assert new["prediction"] != old["prediction"]


def test_what_does_not_fit_costs_no_kept_server(start: Start, bucket: Bucket, models: Path) -> None:
    small = copy(bucket, models, "kept/fits")
    size = sum(path.stat().st_size for path in (models / "linear" / FIRST).rglob("*"))
    with start(KEEP_MODELS="2", MODEL_MEMORY_BYTES=str(2 * size)) as service:
        jobs = Jobs(bucket, service, "kept-fits")
        jobs.run(small)
        assert jobs.call(f"{bucket.uri}/models/zoo/").status_code == 413
        assert was_kept(jobs.run(small))


def test_the_least_recently_used_is_stopped(start: Start, bucket: Bucket, models: Path) -> None:
    a, b, c = (copy(bucket, models, f"kept/lru-{name}") for name in "abc")
    with start(KEEP_MODELS="2", **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "kept-lru")
        kept = [was_kept(jobs.run(model)) for model in (a, b, a, c, a, b)]
        assert kept == [False, False, True, False, True, False]
        until(lambda: len(model_servers(service)) == 2)


def test_a_kept_server_that_died_is_replaced(start: Start, bucket: Bucket, models: Path) -> None:
    model = copy(bucket, models, "kept/died")
    with start(KEEP_MODELS="1", **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "kept-died")
        before = jobs.run(model)
        (server,) = model_servers(service)
        server.kill()
        until(lambda: model_servers(service) == [])
        after = jobs.run(model)
        assert not was_kept(after)
        assert after["prediction"] == before["prediction"]
        assert was_kept(jobs.run(model))


def test_a_kept_server_that_hangs_is_replaced(start: Start, bucket: Bucket, models: Path) -> None:
    model = copy(bucket, models, "kept/hangs")
    with start(KEEP_MODELS="1", **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "kept-hangs")
        before = jobs.run(model)
        (server,) = model_servers(service)
        server.suspend()
        after = jobs.run(model)
        assert not was_kept(after)
        assert after["prediction"] == before["prediction"]
        assert not server.is_running()


def test_memory_bounds_what_is_kept(start: Start, bucket: Bucket, models: Path) -> None:
    a, b = (copy(bucket, models, f"kept/memory-{name}") for name in "ab")
    with start(KEEP_MODELS="9", KEEP_MODELS_BYTES="1000000", **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "kept-memory")
        assert [was_kept(jobs.run(model)) for model in (a, b, a)] == [False] * 3
        assert model_servers(service) == []


def test_a_bad_row_costs_no_server_and_a_failing_one_does(
    start: Start, bucket: Bucket, models: Path
) -> None:
    model = copy(bucket, models, "kept/errors")
    with start(KEEP_MODELS="1") as service:
        jobs = Jobs(bucket, service, "kept-errors")
        bucket.put("kept-errors/bad.jsonl", '["no number"]\n')
        refused = jobs.call(model, input=f"{bucket.uri}/kept-errors/bad.jsonl")
        assert refused.status_code == 422
        assert was_kept(jobs.run(model))


def test_parameters_of_one_job_are_not_those_of_the_next(start: Start, bucket: Bucket) -> None:
    """Signature, constants and the output filter belong to a job, not to its server."""
    with start(KEEP_MODELS="1") as service:
        jobs = Jobs(bucket, service, "kept-parameters")
        model = f"{bucket.uri}/models/formats/"
        bucket.put("kept-parameters/b.jsonl", '{"x":1,"factor":2}\n')
        plain = jobs.run(model)
        filtered = jobs.run(model, output_filter="total")
        again = jobs.run(model)
        other = jobs.run(
            model, signature_name="defaults", input=f"{bucket.uri}/kept-parameters/b.jsonl"
        )
        assert all(map(was_kept, (filtered, again, other)))
        assert filtered["prediction"] != plain["prediction"] == again["prediction"]
        assert jobs.call(model, signature_name="no_such_signature").status_code == 422
        assert jobs.run(model)["prediction"] == plain["prediction"]


def test_links_out_of_the_allowed_folders_stay_refused(
    start: Start, bucket: Bucket, models: Path, local_root: Path, tmp_path: Path
) -> None:
    """A kept server answers only whom its files may be read for."""
    outside = tmp_path / "outside"
    shutil.copytree(models / "linear" / FIRST, outside / "1")
    (local_root / "kept-link").symlink_to(outside)
    try:
        with start(KEEP_MODELS="1") as service:
            jobs = Jobs(bucket, service, "kept-link")
            for _ in range(2):
                assert jobs.call(str(local_root / "kept-link")).status_code == 403
    finally:
        (local_root / "kept-link").unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_instance_goes_on_without_its_worker(
    number: signal.Signals, start: Start, bucket: Bucket, models: Path, monkeypatch: Any
) -> None:
    """The folders of the master, and the process that forks model servers, outlive a worker."""
    monkeypatch.delenv(FORK_SERVER_VARIABLE, raising=False)
    model = copy(bucket, models, "kept/worker")
    with start(KEEP_MODELS="1") as service:
        jobs = Jobs(bucket, service, "kept-worker")
        before = jobs.run(model)
        (worker,) = [
            process
            for process in psutil.Process(service.process.pid).children()
            if "gunicorn" in " ".join(process.cmdline())
        ]
        worker.send_signal(number)
        until(lambda: not worker.is_running())
        until(lambda: answers(f"{service.url}/health"))
        after = jobs.run(model)
        assert not was_kept(after)
        assert after["prediction"] == before["prediction"]


@pytest.mark.skipif(not needs_stand_in(), reason="there is no process that forks model servers")
def test_an_instance_ends_with_what_forks_its_servers(
    start: Start, bucket: Bucket, models: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv(FORK_SERVER_VARIABLE, raising=False)
    with start() as service:
        Jobs(bucket, service, "kept-forks").run(copy(bucket, models, "kept/forks"))
        (parent,) = [
            process
            for process in psutil.Process(service.process.pid).children()
            if "fork_parent" in " ".join(process.cmdline())
        ]
        parent.kill()
        service.process.wait(20)
        assert "forks model servers has ended" in service.output()


def test_a_worker_that_is_killed_leaves_nothing(
    start: Start, bucket: Bucket, models: Path, temporary_folder: Path
) -> None:
    model = copy(bucket, models, "kept/killed")
    with start(KEEP_MODELS="1", **NOT_FORKED) as service:
        before = set(temporary_folder.iterdir())
        jobs = Jobs(bucket, service, "kept-killed")
        jobs.run(model)
        assert set(temporary_folder.iterdir()) > before
        servers = model_servers(service)
        (worker,) = psutil.Process(service.process.pid).children()
        worker.kill()
        psutil.wait_procs([worker, *servers], timeout=5)
        until(lambda: set(temporary_folder.iterdir()) == before)
        assert not any(server.is_running() for server in servers)
