"""What an instance does not do: too large, not allowed, not told."""

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of
from tests.fakes.processes import NOT_FORKED
from tests.fakes.waiting import until
from tests.faults.model_server import PROGRAM_FILE
from tests.faults.world import model_servers
from tests.integration.one_row_jobs import Start
from tfserving_launcher import find_program

ROW = "[1,2,3]"


def job(bucket: Bucket, folder: str, **changes: object) -> dict[str, object]:
    bucket.put(f"{folder}/in.jsonl", ROW)
    return {
        "model": f"{bucket.uri}/models/zoo/",
        "input": f"{bucket.uri}/{folder}/in.jsonl",
        "output": f"{bucket.uri}/{folder}/out/",
        **changes,
    }


def message(response: requests.Response, code: int) -> str:
    assert response.status_code == code, response.text
    text: str = response.json()["error"]["message"]
    return text


# Too long


def test_call_is_capped_by_job_timeout(start: Start, bucket: Bucket) -> None:
    """A call gets no more time than the instance allows."""
    parameters = job(bucket, "capped", signature_name="slow", timeout_seconds=1000)
    bucket.put("capped/in.jsonl", "100000")
    with start(JOB_TIMEOUT_SECONDS="4") as service:
        answer = requests.post(service.url, json=parameters, timeout=50)
    assert "the job's time of 4 s is up" in message(answer, 504)


# Too large


def test_too_large_model_is_413_before_fetch(start: Start, bucket: Bucket) -> None:
    """A model larger than is allowed is 413 before it is fetched."""
    with start(MODEL_MEMORY_BYTES="1000") as service:
        answer = requests.post(service.url, json=job(bucket, "large-model"), timeout=50)
    text = message(answer, 413)
    assert "MODEL_MEMORY_BYTES allows 0.0 MB" in text
    details = details_of(answer.json())
    assert details["allowed_bytes"] == 1000
    assert details["model_bytes"] > 1000
    assert "model_download" not in details["seconds"]
    assert bucket.names("large-model/out/") == []


def test_a_temporary_folder_without_room_is_413(start: Start, bucket: Bucket) -> None:
    parameters = job(bucket, "no-room")
    with start() as service:
        (worker,) = psutil.Process(service.process.pid).children()
        # What a full disk does to a write, without a disk to fill.
        worker.rlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        text = message(requests.post(service.url, json=parameters, timeout=50), 413)
        assert "the temporary folder has room for" in text
        worker.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert requests.post(service.url, json=parameters, timeout=50).status_code == 200


def test_full_local_disk_is_502_and_leaves_nothing(
    start: Start, bucket: Bucket, local_root: Path
) -> None:
    """A local output without room is 502 and leaves nothing."""
    bucket.put("no-room-out/in.jsonl", f"{ROW}\n" * 200_000)
    parameters = {
        "model": f"{local_root}/zoo/",
        "input": f"{bucket.uri}/no-room-out/in.jsonl",
        "output": f"{local_root}/no-room/out/",
    }
    for name in bucket.names("models/zoo/"):
        place = local_root / name.removeprefix("models/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bucket.get(name))
    with start() as service:
        (worker,) = psutil.Process(service.process.pid).children()
        worker.rlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        text = message(requests.post(service.url, json=parameters, timeout=50), 502)
    assert "File too large" in text
    assert not (local_root / "no-room").exists()


# Not allowed


PLACES: tuple[tuple[dict[str, str], bool], ...] = (
    ({}, True),
    ({"model": "gs://test-bucket/models-not/zoo/"}, False),
    ({"input": "gs://test-bucket/elsewhere/in.jsonl"}, False),
    ({"output": "gs://test-bucket/allowed-not/"}, False),
    ({"output": "gs://test-bucket/allowed/../elsewhere/"}, False),
    ({"output": "gs://test-bucket-evil/allowed/"}, False),
    ({"output": "{local_root}/free/"}, False),
    ({"output": "{local_root}/prefix/"}, True),
    ({"output": "{local_root}/prefix/../free/"}, False),
    ({"output": "{local_root}/prefix/link/"}, False),
)


def test_uris_outside_the_allowed_prefixes_are_403(
    start: Start, bucket: Bucket, local_root: Path
) -> None:
    for name in ("prefix", "free"):
        (local_root / name).mkdir()
    (local_root / "prefix" / "link").symlink_to(local_root / "free")
    prefixes = f"gs://test-bucket/models, gs://test-bucket/allowed/,{local_root}/prefix"
    with start(ALLOWED_URI_PREFIXES=prefixes) as service:
        for change, allowed in PLACES:
            parameters = job(bucket, "allowed")
            parameters |= {name: uri.format(local_root=local_root) for name, uri in change.items()}
            answer = requests.post(service.url, json=parameters, timeout=50)
            if allowed:
                assert answer.status_code == 200, answer.text
            else:
                assert "ALLOWED_URI_PREFIXES" in message(answer, 403)
            assert not list((local_root / "free").iterdir())


# Not told


def test_server_sees_no_credentials_socket_is_private(
    start: Start, bucket: Bucket, temporary_folder: Path
) -> None:
    """The model server sees no credentials and its socket is private."""
    secrets = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/key.json",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "DATABASE_PASSWORD": "s3cret",
        "HTTPS_PROXY_TOKEN": "s3cret",
        "FOR_THE_MODEL": "1",
        "SOME_MODEL_SERVER_OPTION": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }
    parameters = job(bucket, "environment", signature_name="slow", timeout_seconds=15)
    bucket.put("environment/in.jsonl", "100000")
    with (
        start(**secrets, **NOT_FORKED, SERVER_ENVIRONMENT="FOR_THE_MODEL,NOT_THERE") as service,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(requests.post, service.url, json=parameters, timeout=50)
        until(lambda: bool(list(temporary_folder.glob("embedded-tf-*/tfs-*/s"))))
        (server, *_) = model_servers(service)
        (folder,) = temporary_folder.glob("embedded-tf-*/tfs-*")
        environment = server.environ()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)]
        assert answer.result().status_code == 504
    assert modes == [0o700, 0o700]
    assert not any("s3cret" in value for value in environment.values())
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in environment
    assert "STORAGE_EMULATOR_HOST" not in environment
    assert environment["FOR_THE_MODEL"] == environment["TF_NUM_INTEROP_THREADS"] == "1"
    assert environment["SOME_MODEL_SERVER_OPTION"] == "1"
    assert environment["PATH"] == os.environ["PATH"]


def test_answers_and_logs_hide_rows_and_paths(
    start: Start, bucket: Bucket, temporary_folder: Path
) -> None:
    """Neither answers nor logs tell rows or temporary paths."""
    secret = "the patient is called " + "x" * 400
    parameters = job(bucket, "discreet")
    bucket.put("discreet/in.jsonl", json.dumps([1, 2, secret]))
    with start(LOG_LEVEL="DEBUG") as service:
        answer = requests.post(service.url, json=parameters, timeout=50)
        output = service.output()
    text = message(answer, 422)
    assert text.endswith(f'found "{secret[:79]}... (424 characters)')
    assert secret not in output
    with start() as service:
        changed = job(bucket, "discreet", model=f"{bucket.uri}/models/changed/")
        answer = requests.post(service.url, json=changed, timeout=50)
    assert answer.status_code == 422
    assert details_of(answer.json())["server_output"]
    assert str(temporary_folder) not in answer.text


# Who is gone


def test_disconnect_cancels_job_where_set(start: Start, bucket: Bucket) -> None:
    """A client that disconnects cancels the job where that is set."""
    parameters = job(bucket, "hang-up", signature_name="slow")
    bucket.put("hang-up/in.jsonl", "100000")
    with start(CANCEL_ON_HANG_UP="true") as service:
        with pytest.raises(requests.ReadTimeout):
            requests.post(service.url, json=parameters, timeout=(5, 3))
        until(lambda: not requests.get(f"{service.url}/health", timeout=5).json()["busy"])
        assert "the client disconnected" in service.output()
        assert model_servers(service) == []
    assert bucket.names("hang-up/out/") == []


def test_dead_jobs_leftovers_are_swept(
    start: Start, bucket: Bucket, temporary_folder: Path
) -> None:
    """What dead jobs have left is swept and nothing else."""
    dead = temporary_folder / "embedded-tf-job-dead0000"
    (dead / "1" / "variables").mkdir(parents=True)
    (dead / "1" / "variables" / "data").write_text("x" * 1000)
    (dead / ".embedded-tf-lock").touch()
    somebodys = [
        temporary_folder / name for name in ("embedded-tf-results", "embedded-tf-job-abcdefgh")
    ]
    for folder in somebodys:
        folder.mkdir()
        (folder / "a.jsonl").write_text("mine")
    slow = job(bucket, "sweep", signature_name="slow", timeout_seconds=20)
    bucket.put("sweep/in.jsonl", "100000")
    left_running = subprocess.Popen(
        ["sleep", "1000"], env={**os.environ, "EMBEDDED_TF_JOB_FOLDER": str(dead)}
    )
    with start() as service, ThreadPoolExecutor(1) as pool:
        until(lambda: not dead.exists())
        assert left_running.wait(5) == -signal.SIGKILL
        answer = pool.submit(requests.post, service.url, json=slow, timeout=50)
        until(lambda: bool(list(temporary_folder.glob("embedded-tf-job-*/tfs-*"))))
        (living,) = {folder.parent for folder in temporary_folder.glob("embedded-tf-job-*/tfs-*")}
        with start() as other:
            assert requests.post(other.url, json=job(bucket, "s2"), timeout=50).status_code == 200
            assert living.exists()
        assert answer.result().status_code == 504
    assert not living.exists()
    for folder in somebodys:
        assert (folder / "a.jsonl").read_text() == "mine"
        shutil.rmtree(folder)


def test_killed_worker_leaves_no_server_child(
    start: Start, bucket: Bucket, temporary_folder: Path
) -> None:
    """A killed worker leaves nothing that its model server has started."""
    parameters = job(bucket, "forks", signature_name="slow")
    bucket.put("forks/in.jsonl", "100000")
    command = f"{sys.executable} -m tests.fakes.misbehaving_server forks"
    with start(TENSORFLOW_MODEL_SERVER=command) as service, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.post, service.url, json=parameters, timeout=50)
        until(lambda: len(model_servers(service)) > 1)
        left = model_servers(service)
        psutil.Process(service.process.pid).children()[0].kill()
        assert isinstance(answer.exception(20), requests.ConnectionError)
        _, alive = psutil.wait_procs(left, timeout=5)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
        until(lambda: not list(temporary_folder.glob("embedded-tf-job-*")))


def test_a_model_may_not_lead_out_of_the_local_roots(
    start: Start, bucket: Bucket, local_root: Path, tmp_path: Path
) -> None:
    for name in bucket.names("models/linear/10/"):
        place = tmp_path / "outside" / name.removeprefix("models/linear/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bucket.get(name))
    (local_root / "linked").mkdir()
    (local_root / "linked" / "10").symlink_to(tmp_path / "outside" / "10")
    (local_root / "circle").symlink_to(local_root / "circle")
    with start() as service:
        parameters = job(bucket, "leads-out", model=f"{local_root}/linked/")
        text = message(requests.post(service.url, json=parameters, timeout=50), 403)
        assert "LOCAL_ROOTS" in text
        for name in ("model", "input", "output"):
            parameters = job(bucket, "circle", **{name: f"{local_root}/circle/x"})
            answer = requests.post(service.url, json=parameters, timeout=50)
            assert 400 <= answer.status_code < 500, answer.text
        (local_root / "folder" / "in.jsonl").mkdir(parents=True)
        parameters = job(bucket, "folder", output=f"{local_root}/folder/")
        assert "is a folder" in message(
            requests.post(service.url, json=parameters, timeout=50), 400
        )


def test_never_available_server_is_503_no_row_blamed(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    """A server that is never available is 503 and no row is blamed."""
    (tmp_path / "orders").mkdir()
    (tmp_path / PROGRAM_FILE).write_text(json.dumps(find_program().command))
    order = {"what": "refuses", "code": "UNAVAILABLE", "always": True}
    (tmp_path / "orders" / "0.json").write_text(json.dumps(order))
    command = f"{sys.executable} -m tests.faults.model_server {tmp_path / 'orders'}"
    for on_error, restarts in (("skip", "1"), ("fail", "0")):
        with start(TENSORFLOW_MODEL_SERVER=command, SERVER_RESTARTS=restarts) as service:
            parameters = job(bucket, "unavailable", on_error=on_error)
            answer = requests.post(service.url, json=parameters, timeout=50)
        assert "UNAVAILABLE: injected refusal" in message(answer, 503)
        assert bucket.names("unavailable/out/") == []


@pytest.mark.parametrize("restarts", ["0", "2"])
def test_model_with_wrong_row_count_is_422(restarts: str, start: Start, bucket: Bucket) -> None:
    """A model that answers with other rows is 422 however many server's there may be."""
    parameters = job(bucket, f"short-{restarts}", signature_name="one_short", on_error="skip")
    bucket.put(f"short-{restarts}/in.jsonl", "1\n2\n3\n")
    with start(SERVER_RESTARTS=restarts) as service:
        answer = requests.post(service.url, json=parameters, timeout=50)
    assert "has the shape [2] for 3 rows" in message(answer, 422)


def test_unreplaceable_server_ends_job_with_503(start: Start, bucket: Bucket) -> None:
    """A server that may not be replaced ends the job with 503."""
    command = f"{sys.executable} -m tests.fakes.misbehaving_server exits"
    with start(SERVER_RESTARTS="0", TENSORFLOW_MODEL_SERVER=command) as service:
        answer = requests.post(service.url, json=job(bucket, "no-restart"), timeout=50)
        assert "ended with exit status 3 before it was ready" in message(answer, 503)
        assert "it is started again" not in service.output()
