"""What all tests share: models, servers beside the tests, and the watch over what is left."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, fake_gcs_server, gunicorn
from tests.faults.storage_proxy import storage_proxy
from tfserving_launcher import FORK_SERVER_VARIABLE, ModelServer, fork_server, needs_stand_in

_ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for everything temporary, so that leftovers can be seen."""
    tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = folder
        yield Path(folder)
        tempfile.tempdir = None
        del os.environ["TMPDIR"]


@pytest.fixture(scope="session", autouse=True)
def forked_servers(temporary_folder: Path) -> Iterator[None]:
    """Where the Python model server stands in, all of a run are forked from one process."""
    if not needs_stand_in():
        yield
        return
    with fork_server(temporary_folder=temporary_folder) as socket_path:
        os.environ[FORK_SERVER_VARIABLE] = str(socket_path)
        yield
        del os.environ[FORK_SERVER_VARIABLE]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all SavedModels."""
    return _made_once("models", tmp_path_factory)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models as people export them, with inputs and predictions of TensorFlow."""
    return _made_once("exports", tmp_path_factory)


def _made_once(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tests.fakes.NAME` makes: once a run, in a process of its own."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = shared / f"unfinished-{name}"
            subprocess.run(
                [sys.executable, "-m", f"tests.fakes.{name}", str(unfinished)],
                cwd=_ROOT,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def zoo(models: Path) -> Iterator[ModelServer]:
    """One server for all tests that only call it."""
    with ModelServer(models / "zoo" / "1") as server:
        yield server


@pytest.fixture(scope="session")
def gcs_url() -> Iterator[str]:
    """Where storage answers as Google's does, as far as the tests need it."""
    with fake_gcs_server() as url, storage_proxy(url) as proxy:
        yield proxy.url


@pytest.fixture(scope="session")
def bucket(gcs_url: str, models: Path) -> Bucket:
    """A bucket that holds all models below `models/`."""
    bucket = Bucket(gcs_url, "test-bucket")
    bucket.put_folder("models", models)
    return bucket


@pytest.fixture(scope="session")
def local_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder below which the service may use local files."""
    return tmp_path_factory.mktemp("local-root")


@pytest.fixture(scope="session")
def service(gcs_url: str, local_root: Path, temporary_folder: Path) -> Iterator[RunningService]:
    """The service under gunicorn, as the container runs it, with the emulator as its storage."""
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "LOCAL_ROOTS": str(local_root),
        "TMPDIR": str(temporary_folder),
    }
    with gunicorn(environment) as running_service:
        yield running_service


@pytest.fixture(autouse=True)
def nothing_left(temporary_folder: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no process, socket or folder more than before it."""
    for name in ("models", "exports", "zoo", "gcs_url", "bucket", "service", "undisturbed"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    before = _processes(), set(temporary_folder.iterdir())
    yield
    # A service that has just begun asks the model server program for its flags.
    for _ in range(50):
        if _processes() <= before[0]:
            break
        threading.Event().wait(0.1)
    assert _processes() <= before[0], "a process was left"
    assert set(temporary_folder.iterdir()) <= before[1], "a file or folder was left"


def _processes() -> set[psutil.Process]:
    return {
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
    }
