"""Many jobs over more models than are kept, while servers die and models change.

python -m tests.faults.kept_models [JOBS]

Each model answers another number, so an answer by the wrong model would show.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.cloud_storage import CloudStorage
from tests.fakes.processes import RunningService, gunicorn
from tests.fakes.waiting import until
from tests.faults.storage_proxy import storage_proxy
from tfserving_launcher import FORK_SERVER_VARIABLE, resident_bytes

MODELS = 20
KEEP = 5
MOST_BYTES = 1_500_000_000
_KILL_EVERY = 13
_CHANGE_EVERY = 17


@dataclass(slots=True)
class KeptModels:
    """A service that keeps servers, and what each model answers now."""

    service: RunningService
    bucket: Bucket
    models: Path
    temporary_folder: Path
    answers: dict[int, int] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    most_bytes: int = 0

    def change(self, model: int, answer: int) -> None:
        """The model answers another number from now on, under the same names of files."""
        self.bucket.put_folder(f"models/{model}/1", self.models / str(answer) / "1")
        self.answers[model] = answer

    def run(self, model: int, number: int) -> None:
        """A job, whose answer must be that of the model as it is now."""
        response = requests.post(
            self.service.url,
            json={
                "model": f"{self.bucket.uri}/models/{model}/",
                "input": f"{self.bucket.uri}/one.jsonl",
                "output": f"{self.bucket.uri}/out/{number}/",
            },
            timeout=60,
        )
        assert response.status_code == 200, response.text
        prediction = self.bucket.get(f"out/{number}/one.jsonl").decode()
        assert prediction == f"[{self.answers[model]}.0]\n", (model, prediction)
        self.seen["started" if "server_start" in response.json()["seconds"] else "kept"] += 1
        servers = self.servers()
        assert len(servers) <= KEEP, servers
        held = sum(resident_bytes(server.pid) for server in servers)
        assert held <= MOST_BYTES, held
        self.most_bytes = max(self.most_bytes, held)

    def kill_one(self, chance: random.Random) -> None:
        """A kept server dies between two jobs."""
        if servers := self.servers():
            victim = chance.choice(servers)
            victim.kill()
            until(lambda: victim not in self.servers())
            self.seen["killed"] += 1

    def servers(self) -> list[psutil.Process]:
        """The model servers that live: what the fork server has forked, or the worker started."""
        below = psutil.Process(self.service.process.pid).children(recursive=True)
        return [
            process
            for process in below
            if process.ppid() != self.service.process.pid
            and process.status() != psutil.STATUS_ZOMBIE
        ]


def soak(kept: KeptModels, jobs: int) -> None:
    """Jobs over all models, some asked for more often than others."""
    chance = random.Random(3)
    for model in range(1, MODELS + 1):
        kept.change(model, model)
    weights = [1 / model for model in range(1, MODELS + 1)]
    for number in range(1, jobs + 1):
        (model,) = chance.choices(range(1, MODELS + 1), weights)
        if number % _KILL_EVERY == 0:
            kept.kill_one(chance)
        if number % _CHANGE_EVERY == 0:
            kept.change(model, chance.randint(1, MODELS))
            kept.seen["changed"] += 1
        kept.run(model, number)


@contextmanager
def kept_models() -> Iterator[KeptModels]:
    """A service of its own. After the block nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        models, temporary = Path(folder, "models"), Path(folder, "tmp")
        temporary.mkdir()
        subprocess.run(
            [sys.executable, "-m", "tests.fakes.factors", str(models), str(MODELS)],
            stderr=subprocess.DEVNULL,
            check=True,
        )
        storage = CloudStorage()
        with storage_proxy(storage) as proxy:
            bucket = Bucket(proxy.url, "kept")
            bucket.put("one.jsonl", "[1]\n")
            # Without this one, the service forks its model servers itself.
            os.environ.pop(FORK_SERVER_VARIABLE, None)
            environment = {
                "STORAGE_EMULATOR_HOST": proxy.url,
                "TMPDIR": str(temporary),
                "PRIVATE_FOLDERS": str(temporary),
                "KEEP_MODELS": str(KEEP),
                "KEEP_MODELS_BYTES": str(MOST_BYTES),
            }
            with gunicorn(environment) as service:
                kept = KeptModels(service, bucket, models, temporary)
                yield kept
                servers = kept.servers()
            until(lambda: not any(server.is_running() for server in servers))
            left = [path.name for path in temporary.iterdir()]
            assert left == [], left


def main(jobs: int) -> int:
    started = time.monotonic()
    with kept_models() as kept:
        soak(kept, jobs)
    counts = ", ".join(f"{what} {count}" for what, count in sorted(kept.seen.items()))
    print(f"{jobs} jobs over {MODELS} models, {KEEP} kept, {time.monotonic() - started:.0f} s")
    print(f"servers: {counts}; at most {kept.most_bytes / 1e6:,.0f} MB in kept servers")
    print("no answer of another model, no process and no file left")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
