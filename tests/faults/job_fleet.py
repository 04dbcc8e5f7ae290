"""Many jobs over a queue that errs, in instances that die: each output once, none lost.

python -m tests.faults.job_fleet [JOBS]
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests

from tests.fakes.buckets import Bucket
from tests.fakes.cloud_tasks import FakeCloudTasks, Mischief, fake_cloud_tasks
from tests.fakes.processes import answers, fake_gcs_server
from tests.faults.storage_proxy import StorageProxy, storage_proxy
from tfserving_launcher import FORK_SERVER_VARIABLE, fork_server, needs_stand_in

INSTANCES = 4
QUEUE = "projects/p/locations/l/queues/q"
_SETTINGS = {"LEASE_SECONDS": "4", "STORAGE_RETRY_SECONDS": "20", "MAX_ATTEMPTS": "50"}
MISCHIEF = Mischief(twice=0.15, late=0.1, again=0.1, unheard=0.1, late_seconds=0.5)
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


@dataclass(slots=True)
class Fleet:
    """Instances of the service with one JOBS_URI; those that die are replaced."""

    environment: dict[str, str]
    bucket: Bucket
    proxy: StorageProxy
    random: Random = field(default_factory=lambda: Random(7))
    instances: list["_Instance"] = field(default_factory=list)
    deaths: int = 0

    def front_end(self) -> str:
        """The address of some instance, as a platform picks one."""
        return self.random.choice(self.instances).url

    def kill_one(self) -> None:
        """SIGKILL an instance as a platform does: with all that runs in it; start another."""
        place = self.random.randrange(len(self.instances))
        self.instances[place].kill()
        self.deaths += 1
        self.instances[place] = _Instance(self.environment)

    def states(self) -> Counter[str]:
        listed = requests.get(f"{self.front_end()}/jobs?page_size=1000", timeout=30).json()
        return Counter(job["state"].removeprefix("JOB_STATE_") for job in listed["jobs"])


class _Instance:
    """A gunicorn in a session of its own, so that all of it can be killed at once."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            argv = [sys.executable, "-m", "gunicorn", "-c", "python:app.gunicorn_conf"]
            argv += ["--bind", f"fd://{listener.fileno()}", "app.wsgi:app"]
            self._process = subprocess.Popen(
                argv,
                env={**os.environ, **environment},
                pass_fds=(listener.fileno(),),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not answers(f"{self.url}/health"):
            if time.monotonic() > deadline:
                raise RuntimeError("an instance did not start")

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


def settings_of(queue: FakeCloudTasks) -> dict[str, str]:
    """For instances that the queue calls."""
    return {
        "QUEUE": QUEUE,
        "SERVICE_URL": "http://service.test",
        "SERVICE_ACCOUNT": "robot@p.iam.gserviceaccount.com",
        "DISPATCH_DEADLINE_SECONDS": "60",
        "CLOUD_TASKS_EMULATOR_HOST": queue.address,
    }


@contextmanager
def fleet(folder: Path, settings: dict[str, str], *, instances: int = INSTANCES) -> Iterator[Fleet]:
    """Instances, and their storage behind a proxy that counts what is published."""
    with ExitStack() as stack:
        url = stack.enter_context(fake_gcs_server())
        proxy = stack.enter_context(storage_proxy(url))
        bucket = Bucket(url, "fleet")
        environment = {
            **_SETTINGS,
            **settings,
            "STORAGE_EMULATOR_HOST": proxy.url,
            "JOBS_URI": f"{bucket.uri}/jobs/",
            "TMPDIR": str(folder),
        }
        made = Fleet(environment, bucket, proxy)
        try:
            for _ in range(instances):
                made.instances.append(_Instance(environment))
            yield made
        finally:
            for instance in made.instances:
                instance.end()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the jobs: `lost` and `doubled` name outputs, `untrue` names records."""

    states: Counter[str]
    lost: list[str]
    doubled: list[str]
    untrue: list[str]
    leased_twice: int
    deaths: int
    deliveries: int
    seconds: float

    def in_words(self, jobs: int) -> str:
        words = (
            f"{jobs} jobs in {self.seconds:.0f} s, {self.deaths} instances killed,"
            f" {self.deliveries} deliveries, {self.leased_twice} jobs taken over;"
            f" {dict(self.states)}"
        )
        wrong = f"; lost {self.lost}, doubled {self.doubled}, untrue records {self.untrue}"
        return words + ("; each output once" if self.is_right else wrong)

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.doubled or self.untrue) and set(self.states) == {"SUCCEEDED"}


def run_over_queue(models: Path, folder: Path, jobs: int, deaths: int) -> Outcome:
    """Jobs through a queue that errs, while `deaths` instances are killed at random moments."""
    queue = FakeCloudTasks(front_end=lambda: "", mischief=MISCHIEF)
    with fake_cloud_tasks(queue), fleet(folder, settings_of(queue)) as instances:
        instances.bucket.put_folder("models/zoo", models / "zoo")
        queue.front_end = instances.front_end
        outcome = _run(instances, jobs, deaths, queue)
        _await(queue.is_idle, 60)
    return Outcome(**outcome, deliveries=len(queue.deliveries))


def run_without_queue(models: Path, folder: Path, jobs: int, deaths: int) -> Outcome:
    """Jobs that the instances find in JOBS_URI, while instances are killed."""
    with fleet(folder, {}) as instances:
        instances.bucket.put_folder("models/zoo", models / "zoo")
        return Outcome(**_run(instances, jobs, deaths, None), deliveries=0)


def _run(instances: Fleet, jobs: int, deaths: int, queue: FakeCloudTasks | None) -> dict[str, Any]:
    started = time.monotonic()
    names = [f"job-{number:03}" for number in range(jobs)]
    for number, name in enumerate(names):
        instances.bucket.put(f"in/{name}.jsonl", f"[{number}, 1, 2]\n[{number}, 3]\n")
    with instances.proxy.lock:
        instances.proxy.requests.clear()
    killer = threading.Thread(target=_kill_at_random, args=(instances, deaths, queue))
    killer.start()
    for name in names:
        _submit(instances, name)
    _await(lambda: _is_over(instances, jobs), 60 + 3 * jobs)
    killer.join()
    return {
        **_judge(instances, names),
        "deaths": instances.deaths,
        "seconds": time.monotonic() - started,
    }


def _kill_at_random(instances: Fleet, deaths: int, queue: FakeCloudTasks | None) -> None:
    """After half of the instances' deaths the queue dies, and comes back."""
    for number in range(deaths):
        threading.Event().wait(instances.random.uniform(0.5, 4.0))
        instances.kill_one()
        if queue is not None and number == deaths // 2:
            queue.die(seconds=1.0)


def _submit(instances: Fleet, name: str) -> None:
    """As a client does: the same call again, until it is answered."""
    body = {
        "job_id": name,
        "model": f"{instances.bucket.uri}/models/zoo/",
        "signature_name": "any_length",
        "input": f"{instances.bucket.uri}/in/{name}.jsonl",
        "output": f"{instances.bucket.uri}/out/",
    }
    for _ in range(100):
        try:
            answer = requests.post(f"{instances.front_end()}/jobs", json=body, timeout=60)
        except requests.RequestException:
            continue
        if answer.ok:
            return
    raise AssertionError(f"{name} was not taken")


def _is_over(instances: Fleet, jobs: int) -> bool:
    try:
        states = instances.states()
    except (requests.RequestException, KeyError):
        return False
    return sum(states[state] for state in _FINAL) == jobs


def _judge(instances: Fleet, names: list[str]) -> dict[str, Any]:
    bucket = instances.bucket
    made = Counter(instances.proxy.published)
    outputs = {name: f"out/{name}.jsonl" for name in names}
    there = set(bucket.names("out/"))
    untrue = []
    listed = requests.get(f"{instances.front_end()}/jobs?page_size=1000", timeout=30).json()
    for job in listed["jobs"]:
        report = job.get("report", {})
        if (report.get("predictions"), report.get("files")) != (2, 1) or "lease" in job:
            untrue.append(job["job_id"])
    return {
        "states": instances.states(),
        "lost": [name for name, output in outputs.items() if output not in there],
        "doubled": [name for name, output in outputs.items() if made[output] > 1],
        "untrue": untrue + [name for name in names if name not in _ids(listed)],
        "leased_twice": sum(job["attempts"] > 1 for job in listed["jobs"]),
    }


def _ids(listed: dict[str, Any]) -> set[str]:
    return {job["job_id"] for job in listed["jobs"]}


def _await(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {seconds:.0f} s")
        threading.Event().wait(0.2)


def main(jobs: int) -> int:
    with tempfile.TemporaryDirectory(prefix="f-") as folder, ExitStack() as stack:
        models = Path(folder, "models")
        subprocess.run(
            [sys.executable, "-m", "tests.fakes.models", str(models)],
            stderr=subprocess.DEVNULL,
            check=True,
        )
        if needs_stand_in():
            socket_path = stack.enter_context(fork_server(temporary_folder=Path(folder)))
            os.environ[FORK_SERVER_VARIABLE] = str(socket_path)
        right = True
        for name, run in (("Cloud Tasks", run_over_queue), ("no queue", run_without_queue)):
            own = Path(folder, name.replace(" ", "-"))
            own.mkdir()
            outcome = run(models, own, jobs, deaths=max(2, jobs // 10))
            right = right and outcome.is_right
            print(f"{name}: {outcome.in_words(jobs)}", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
