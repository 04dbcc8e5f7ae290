"""Everything real that a job meets, each part with something that can break it on command."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.cloud_storage import CloudStorage
from tests.fakes.processes import RunningService, gunicorn
from tests.faults.model_server import PROGRAM_FILE
from tests.faults.storage_proxy import StorageProxy, storage_proxy
from tfserving_launcher import FORK_SERVER_VARIABLE, find_program, fork_server, needs_stand_in

# Short enough for a fault that lasts to be told in a few seconds.
SETTINGS = {
    "STORAGE_RETRY_SECONDS": "2.5",
    "STORAGE_SILENCE_SECONDS": "1",
    "UPLOAD_CHUNK_BYTES": "262144",
    "CALL_TIMEOUT_SECONDS": "1",
    "START_TIMEOUT_SECONDS": "8",
    "MAX_LINE_BYTES": "2000000",
}
FLOATS = 1000
# Seven batches, and an output of six chunks.
ROWS = 350
BATCH_ROWS = 50
SMALL_ROWS = 5
FILES = ("a.jsonl", "b.jsonl", "c.jsonl")
# The one whose output takes several blocks.
BIG = "b.jsonl"


@dataclass(slots=True)
class World:
    """A service whose storage is a proxy, and whose model server is one that takes orders.

    `bucket` is behind the proxy's back.
    """

    proxy: StorageProxy
    bucket: Bucket
    service: RunningService
    orders: Path
    temporary_folder: Path
    jobs: int = 0

    def order(self, *orders: dict[str, Any]) -> None:
        """What the next servers do, one after the other."""
        for number, order in enumerate(orders):
            (self.orders / f"{number}.json").write_text(json.dumps(order))

    def parameters(self, **changes: object) -> dict[str, object]:
        """Those of a job over the three files of `in/`."""
        return {
            "model": f"{self.bucket.uri}/models/zoo/",
            "signature_name": "any_length",
            "input": f"{self.bucket.uri}/in/",
            "output": f"{self.bucket.uri}/out/",
            "batch_size": BATCH_ROWS,
            **changes,
        }

    def call(self, **changes: object) -> requests.Response:
        """A job over the three files of `in/`."""
        self.jobs += 1
        return requests.post(self.service.url, json=self.parameters(**changes), timeout=50)

    def outputs(self, folder: str = "out") -> dict[str, bytes]:
        """What is there, by name, past the proxy."""
        return {
            name.removeprefix(f"{folder}/"): self.bucket.get(name)
            for name in self.bucket.names(f"{folder}/")
        }

    def clear(self) -> None:
        """No outputs, no orders, no faults."""
        self.proxy.calm_down()
        self.proxy.open_uploads.clear()
        for file in self.orders.iterdir():
            file.unlink()
        for name in self.bucket.names("out/"):
            self.bucket.delete(name)

    def leftovers(self) -> list[str]:
        """What a job has left behind: model servers, temporary folders, uploads."""
        return [
            *(f"process {process.name()}" for process in model_servers(self.service)),
            *(f"folder {path.name}" for path in self.temporary_folder.iterdir()),
            *(f"upload {upload}" for upload in self.proxy.open_uploads),
        ]


def model_servers(service: RunningService) -> list[psutil.Process]:
    """All that has been started by the workers of the service, dead ones left out."""
    found = []
    for worker in psutil.Process(service.process.pid).children():
        for process in worker.children(recursive=True):
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


def row(number: int) -> str:
    """One row of the inputs: a line of JSON."""
    return "[" + ",".join([str(number), *["0"] * (FLOATS - 1)]) + "]"


def inputs() -> dict[str, str]:
    """By file name: two small files around one whose output is an upload of several blocks."""
    rows = {"a.jsonl": SMALL_ROWS, "b.jsonl": ROWS, "c.jsonl": SMALL_ROWS}
    return {name: "".join(f"{row(n)}\n" for n in range(count)) for name, count in rows.items()}


def put_inputs(bucket: Bucket, *names: str) -> None:
    """Those named, as they should be."""
    for name in names:
        bucket.put(f"in/{name}", inputs()[name])


@contextmanager
def world_of_its_own() -> Iterator[World]:
    """With models that TensorFlow makes for it; for programs that are no tests."""
    with tempfile.TemporaryDirectory(prefix="f-") as folder:
        models, own = Path(folder, "models"), Path(folder, "w")
        own.mkdir()
        subprocess.run(
            [sys.executable, "-m", "tests.fakes.models", str(models)],
            stderr=subprocess.DEVNULL,
            check=True,
        )
        with ExitStack() as stack:
            if needs_stand_in():
                socket_path = stack.enter_context(fork_server(temporary_folder=Path(folder)))
                os.environ[FORK_SERVER_VARIABLE] = str(socket_path)
            yield stack.enter_context(world(models, own))


@contextmanager
def world(models: Path, folder: Path, settings: dict[str, str] | None = None) -> Iterator[World]:
    """`models` are those of tests.fakes.models; `folder` is empty and takes what is temporary."""
    orders = folder / "orders"
    temporary_folder = folder / "tmp"
    orders.mkdir()
    temporary_folder.mkdir()
    (folder / PROGRAM_FILE).write_text(json.dumps(find_program().command))
    with ExitStack() as stack:
        # Pages of two, so that each list takes several.
        storage = CloudStorage(page_size=2)
        bucket = Bucket(stack.enter_context(storage_proxy(storage)).url, "faults")
        bucket.put_folder("models/zoo", models / "zoo")
        put_inputs(bucket, *FILES)
        proxy = stack.enter_context(storage_proxy(storage))
        environment = {
            **SETTINGS,
            **(settings or {}),
            "STORAGE_EMULATOR_HOST": proxy.url,
            "TMPDIR": str(temporary_folder),
            "JOBS_URI": str(folder / "jobs"),
            # The program takes its orders away from a folder that is not its own.
            "CONFINE_MODEL": "false",
            "TENSORFLOW_MODEL_SERVER": f"{sys.executable} -m tests.faults.model_server {orders}",
            "PYTHONPATH": os.getcwd(),  # noqa: PTH109  # where the tests are imported from
        }
        service = stack.enter_context(gunicorn(environment))
        yield World(proxy, bucket, service, orders, temporary_folder)
