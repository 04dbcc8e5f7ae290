"""Hostile models in the real service, which runs as the image's user: what they see and leave.

The confinement by the kernel is tried in tests/launcher/test_confinement.py. Here each of the
other means is tried with it, and alone.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import NOT_FORKED, RunningService, gunicorn

ROOT = Path(__file__).parent.parent.parent
USER = 65532
SECRET = "s3cret-of-the-service"

Start = Callable[..., AbstractContextManager[RunningService]]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the service as another user"),
]


@cache
def _python_path() -> str:
    return f"{ROOT}:{sysconfig.get_path('purelib')}"


@cache
def _python_for_the_user() -> str | None:
    """An interpreter that the image's user may run: that of a virtual environment may be root's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        if candidate is None:
            continue
        argv = [candidate, "-c", "import gunicorn.app.wsgiapp, grpc, flask, tests.fakes.processes"]
        try:
            probe = subprocess.run(
                argv,
                env={**os.environ, "PYTHONPATH": _python_path(), "HOME": "/nonexistent"},
                cwd="/",
                user=USER,
                group=USER,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
        except PermissionError:
            continue
        if probe.returncode == 0:
            return candidate
    return None


@pytest.fixture
def folder() -> Iterator[Path]:
    """Writable for the service's user: what is the instance's own."""
    with tempfile.TemporaryDirectory(prefix="c-", dir=Path(tempfile.gettempdir()).parent) as name:
        os.chown(name, USER, USER)
        yield Path(name)


@pytest.fixture
def start(gcs_url: str, folder: Path) -> Start:
    python = _python_for_the_user()
    if python is None:
        pytest.skip(f"user {USER} may run no Python that sees this project and its packages")

    @contextmanager
    def start_with(**settings: str) -> Iterator[RunningService]:
        environment = {
            **NOT_FORKED,
            "STORAGE_EMULATOR_HOST": gcs_url,
            "TMPDIR": str(folder),
            "HOME": "/nonexistent",
            "PYTHONPATH": _python_path(),
            "SECRET": SECRET,
            "PRIVATE_FOLDERS": str(folder),
            **settings,
        }
        with gunicorn(environment, python=python, user=USER) as service:
            yield service

    return start_with


@pytest.fixture
def predict(bucket: Bucket) -> Callable[..., Any]:
    """What the hostile model says to rows, or the error of the job."""

    def call(service: RunningService, *rows: object, **changes: str) -> Any:
        bucket.put("hostile/in.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
        parameters = {
            "model": f"{bucket.uri}/models/hostile/",
            "input": f"{bucket.uri}/hostile/in.jsonl",
            "output": f"{bucket.uri}/hostile/out/",
            "force": True,
            **changes,
        }
        answer = requests.post(service.url, json=parameters, timeout=50)
        if answer.status_code != 200:
            return answer.json()["error"]["message"]
        lines = bucket.get("hostile/out/in.jsonl").decode().splitlines()
        return [json.loads(line) for line in lines]

    return call


def entries(folder: Path) -> list[str]:
    """What is in the folder, but for the records of jobs."""
    names = [path.name for path in folder.iterdir()]
    return [name for name in names if not name.startswith("embedded-tf-jobs-")]


def processes(service: RunningService) -> tuple[int, int]:
    """The numbers of the worker and of the master."""
    (worker,) = psutil.Process(service.process.pid).children()
    return worker.pid, service.process.pid


@pytest.mark.parametrize("confine", ["true", "false"])
def test_graph_reads_no_environment_writes_no_log(
    confine: str, start: Start, predict: Callable[..., Any]
) -> None:
    """Of the worker and of the master; also where only their being closed prevents it."""
    forged = '{"severity":"INFO","message":"forged"}\n'
    with start(CONFINE_MODEL=confine) as service:
        for pid in processes(service):
            assert "ermission denied" in predict(service, f"/proc/{pid}/environ")
            row = {"path": f"/proc/{pid}/fd/2", "content": forged}
            assert "ermission denied" in predict(service, row, signature_name="writes")
        (own,) = predict(service, "/proc/self/environ")
        output = service.output()
    assert SECRET.encode() not in base64.b64decode(own["b64"])
    assert forged not in output
    assert ("the model server is not confined" in output) == (confine == "false")


def test_files_that_a_graph_leaves_are_removed_and_told(
    start: Start, predict: Callable[..., Any], folder: Path
) -> None:
    (folder / "there").write_text("before the service")
    rows = [{"path": f"{folder}/{name}", "content": "x"} for name in ("left", ".netrc")]
    with start(CONFINE_MODEL="false") as service:
        assert predict(service, *rows, signature_name="writes") == [row["path"] for row in rows]
        assert entries(folder) == ["there"]
        assert "a job left 2 files or folders" in service.output()
        assert predict(service, "/proc/self/comm")
    with start() as service:
        assert "ermission denied" in predict(service, rows[0], signature_name="writes")
        assert "a job left" not in service.output()


def test_a_file_changed_in_place_ends_the_instance(
    start: Start, predict: Callable[..., Any], folder: Path
) -> None:
    """After its answer, so that the job is not lost."""
    (folder / "there").write_text("before the service")
    os.chown(folder / "there", USER, USER)
    row = {"path": f"{folder}/there", "content": "by the model"}
    with start(CONFINE_MODEL="false") as service:
        assert predict(service, row, signature_name="writes") == [row["path"]]
        assert service.process.wait(20) == 0
        assert f"{folder / 'there'} was changed" in service.output()
        assert '"severity":"CRITICAL"' in service.output()


def test_dead_worker_leftovers_stay_foreign(start: Start, folder: Path) -> None:
    """A worker that dies does not make what its job left the instances own."""
    with start() as service:
        worker, _ = processes(service)
        (folder / "left").write_text("x")
        psutil.Process(worker).kill()
        for _ in range(1000):
            if not (folder / "left").exists():
                break
            threading.Event().wait(0.02)
        assert not (folder / "left").exists()


@pytest.mark.parametrize("confine", ["true", "false"])
def test_a_hostile_program_in_the_service_leaves_nothing(
    confine: str, start: Start, predict: Callable[..., Any], folder: Path
) -> None:
    """It runs as the model server and then serves the model: the job succeeds."""
    outside = folder / "outside"
    outside.mkdir()
    for name in ("kept", "shortened"):
        (outside / name).write_text("as it was")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = f"{sys.executable} -m tests.fakes.hostile_server {outside} {port}"
        command = command.replace(sys.executable, _python_for_the_user() or "")
        with start(CONFINE_MODEL=confine, TENSORFLOW_MODEL_SERVER=command) as service:
            assert len(predict(service, "/proc/self/comm")) == 1
            output = service.output()
            (text,) = [line for line in output.splitlines() if "ATTACKS" in line]
            left = [name for name in entries(folder) + entries(outside) if name != "outside"]
    told = json.loads(json.loads(text)["message"].partition("ATTACKS ")[2])
    assert told["reads the service's environment"] == "EACCES"
    assert told["reads the master's environment"] == "EACCES"
    assert told["writes into the service's log"] == "EACCES"
    assert told["writes a large file"] == "EFBIG"
    assert told["folders"][0].startswith(f"{folder}/embedded-tf-job-")
    assert sorted(left) == ["kept", "shortened"]
    assert not psutil.pid_exists(told["daemon"])
    assert "forged by a model" not in output
