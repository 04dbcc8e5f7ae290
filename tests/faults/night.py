"""A night of many models, of which some are broken, on each engine, while programs are killed.

    python -m tests.faults.night [MODELS]

All models that can be used make their output once; each other one is named with its state.
"""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fakes.cloud_tasks import FakeCloudTasks, fake_cloud_tasks
from tests.fakes.many_models import name_of
from tests.faults.job_fleet import MISCHIEF, Fleet, fleet, settings_of
from tests.faults.storage_proxy import StorageProxy
from tfserving_launcher import FORK_SERVER_VARIABLE, fork_server, needs_stand_in

DATE = "2026-03-01"
RUN = f"models-{DATE}"
TASKS = 4
_DONE = {"succeeded": "done", "reused": "done"}
_PATIENCE_SECONDS = 1200.0


@dataclass(slots=True)
class Night:
    """Models and inputs in a folder. `expected` has the states of jobs that cannot succeed."""

    folder: Path
    count: int
    most_rows: int
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> list[int]:
        return [n for n in range(self.count) if name_of(n) not in self.expected]

    def rows(self, number: int) -> int:
        return 1 + number * 977 % self.most_rows

    def model(self, number: int) -> Path:
        return self.folder / "models" / name_of(number)

    def input(self, number: int) -> Path:
        return self.folder / "in" / name_of(number) / DATE / "a.jsonl"

    def wrong_outputs(self, read: Callable[[str], bytes | None]) -> list[str]:
        """The names of jobs whose output is absent or wrong."""
        wrong = []
        for number in self.good:
            output = read(f"out/{name_of(number)}/a.jsonl")
            wanted = [float(number * (row + 3)) for row in range(self.rows(number))]
            if output is None or [json.loads(line) for line in output.splitlines()] != wanted:
                wrong.append(name_of(number))
        return wrong

    def arguments(self, place: str, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "app.cli", "fan-out", "--models", f"{place}/models/*/"),
            *("--input", f"{place}/in/{{name}}/{{date}}/", "--output", f"{place}/out/{{name}}/"),
            *("--reports", f"{place}/reports/", "--date", DATE, *more),
        ]


def make_night(folder: Path, models: Path, count: int, most_rows: int) -> Night:
    """Ten models are broken in ten ways, and one in sixty has no input that day."""
    night = Night(folder, count, most_rows)
    shutil.copytree(models, folder / "models")
    for number in range(count):
        path = night.input(number)
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"[{row}, 1, 2]\n" for row in range(night.rows(number))))
    for number, (damage, state) in enumerate(_WAYS):
        damage(night, number)
        night.expected[name_of(number)] = state
    for number in range(len(_WAYS), len(_WAYS) + max(1, count // 60)):
        night.input(number).unlink()
        night.expected[name_of(number)] = "no input"
    return night


def _damage_model(name: str, content: bytes | None) -> Callable[[Night, int], None]:
    def damage(night: Night, number: int) -> None:
        path = night.model(number) / "1" / name
        path.unlink() if content is None else path.write_bytes(content)

    return damage


def _rename_version(night: Night, number: int) -> None:
    (night.model(number) / "1").rename(night.model(number) / "latest")


def _add_parameters(night: Night, number: int) -> None:
    (night.model(number) / "embedded-tf.json").write_text('{"signature_name": "absent"}')


def _input(text: str) -> Callable[[Night, int], None]:
    def write(night: Night, number: int) -> None:
        night.input(number).write_text(text)

    return write


def _broken_gzip(night: Night, number: int) -> None:
    path = night.input(number)
    content = gzip.compress(path.read_bytes())
    path.with_suffix(".jsonl.gz").write_bytes(content[:-9])
    path.unlink()


_WAYS: tuple[tuple[Callable[[Night, int], None], str], ...] = (
    (_damage_model("saved_model.pb", None), "missing model"),
    (_rename_version, "missing model"),
    (_damage_model("saved_model.pb", b"no protocol buffer"), "failed"),
    (_damage_model("variables/variables.index", None), "failed"),
    (_damage_model("variables/variables.data-00000-of-00001", b"\1"), "failed"),
    (_add_parameters, "failed"),
    (_input("[1, 2, 3]\n[1, 2\n"), "failed"),
    (_input("[1, 2]\n"), "failed"),
    (_input('["a", "b", "c"]\n'), "failed"),
    (_broken_gzip, "failed"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a night came to. `undisturbed` are the seconds of one in which nothing was killed."""

    states: Mapping[str, str]
    expected: Mapping[str, str]
    wrong: list[str]
    doubled: list[str]
    exit_status: int
    seconds: float
    undisturbed: float | None = None
    notes: str = ""

    @property
    def is_right(self) -> bool:
        return not (self.misnamed or self.wrong or self.doubled)

    @property
    def misnamed(self) -> dict[str, str]:
        """The jobs that are in another state than they should be."""
        return {
            name: state
            for name, state in self.states.items()
            if self.expected.get(name, "done") != _DONE.get(state, state)
        }

    def in_words(self) -> str:
        ratio = ""
        if self.undisturbed is not None:
            ratio = f", {self.seconds / self.undisturbed:.2f} of undisturbed"
        counts = dict(Counter(self.states.values()))
        words = f"{len(self.states)} models in {self.seconds:.1f} s{ratio}{self.notes}; {counts}"
        words += f"; exit {self.exit_status}"
        if self.is_right:
            return f"{words}; each output once, each other model named"
        return f"{words}; misnamed {self.misnamed}, wrong {self.wrong}, doubled {self.doubled}"


def run_local(night: Night) -> Outcome:
    """By worker processes: once undisturbed, and once killed with SIGKILL in the middle."""
    started = time.monotonic()
    subprocess.run(
        night.arguments(str(night.folder), "--run", "first"), check=False, capture_output=True
    )
    undisturbed = time.monotonic() - started
    shutil.rmtree(night.folder / "out")

    started = time.monotonic()
    with subprocess.Popen(
        night.arguments(str(night.folder)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _await(lambda: len(_made(night)) >= len(night.good) // 2, process)
        process.kill()
    before = _made(night)
    ran = subprocess.run(
        night.arguments(str(night.folder)), check=False, capture_output=True, text=True
    )
    seconds = time.monotonic() - started
    after = _made(night)
    return Outcome(
        states=_states((night.folder / "reports" / RUN / "report.json").read_bytes()),
        expected=night.expected,
        wrong=night.wrong_outputs(lambda name: _read(night.folder / name)),
        doubled=[name for name, made in before.items() if after.get(name) != made],
        exit_status=ran.returncode,
        seconds=seconds,
        undisturbed=undisturbed,
        notes=f", killed after {len(before)} outputs",
    )


def run_over_queue(night: Night, folder: Path, deaths: int) -> Outcome:
    """Over a queue that errs, in four instances, of which some are killed."""
    queue = FakeCloudTasks(front_end=lambda: "", mischief=MISCHIEF)
    with fake_cloud_tasks(queue), fleet(folder, settings_of(queue)) as instances:
        queue.front_end = instances.front_end
        put(night, instances)
        killer = threading.Thread(target=_kill_instances, args=(instances, deaths))
        started = time.monotonic()
        killer.start()
        place = instances.bucket.uri
        ran = subprocess.run(
            night.arguments(place, "--on", "queue", "--wait"),
            env={**os.environ, **instances.environment},
            capture_output=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        seconds = time.monotonic() - started
        killer.join()
        notes = f", {instances.deaths} instances killed, {len(queue.deliveries)} deliveries"
        return _judged(night, instances, ran, seconds, notes)


def run_array(night: Night, folder: Path) -> Outcome:
    """In four tasks, of which one is killed with all that it has started."""
    with fleet(folder, {}, instances=0) as storage:
        put(night, storage)
        started = time.monotonic()
        tasks = []
        for index in range(TASKS):
            numbers = {"CLOUD_RUN_TASK_INDEX": str(index), "CLOUD_RUN_TASK_COUNT": str(TASKS)}
            tasks.append(
                subprocess.Popen(
                    night.arguments(storage.bucket.uri, "--on", "array", "--workers", "1"),
                    env={**os.environ, **storage.environment, **numbers},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        try:
            _await(lambda: len(storage.bucket.names("out/")) >= len(night.good) // 3, tasks[-1])
            _kill_with_descendants(tasks[-1].pid)
            statuses = [task.wait(_PATIENCE_SECONDS) for task in tasks[:-1]]
        finally:
            for task in tasks:
                task.kill()
                task.wait()
        ran: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], max(statuses))
        seconds = time.monotonic() - started
        return _judged(night, storage, ran, seconds, ", one of four tasks killed")


def put(night: Night, storage: Fleet) -> None:
    for folder in ("models", "in"):
        storage.bucket.put_folder(folder, night.folder / folder)
    with storage.proxy.lock:
        storage.proxy.requests.clear()


def _judged(
    night: Night,
    storage: Fleet,
    ran: "subprocess.CompletedProcess[bytes]",
    seconds: float,
    notes: str,
) -> Outcome:
    bucket = storage.bucket
    there = set(bucket.names("out/"))
    return Outcome(
        states=_states(bucket.get(f"reports/{RUN}/report.json")),
        expected=night.expected,
        wrong=night.wrong_outputs(lambda name: bucket.get(name) if name in there else None),
        doubled=_doubled(storage.proxy),
        exit_status=ran.returncode,
        seconds=seconds,
        notes=notes,
    )


def _doubled(proxy: StorageProxy) -> list[str]:
    made = Counter(proxy.published)
    return [name for name, times in made.items() if times > 1 and name.startswith("out/")]


def _kill_instances(instances: Fleet, deaths: int) -> None:
    for _ in range(deaths):
        threading.Event().wait(instances.random.uniform(0.5, 4.0))
        instances.kill_one()


def _kill_with_descendants(pid: int) -> None:
    """As a platform does, which ends the whole container."""
    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _states(report: bytes) -> dict[str, str]:
    return {job["name"]: job["state"] for job in json.loads(report)["jobs"]}


def _made(night: Night) -> dict[str, int]:
    """When each output was made."""
    files = (night.folder / "out").glob("*/*.jsonl")
    return {path.parent.name: path.stat().st_mtime_ns for path in files}


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _await(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline or process.poll() is not None:
            raise AssertionError(f"not while process {process.args!r} ran")
        threading.Event().wait(0.05)


def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="n-") as name, ExitStack() as stack:
        folder = Path(name)
        models = folder / "saved"
        argv = [sys.executable, "-m", "tests.fakes.many_models", str(models), str(count)]
        subprocess.run(argv, stderr=subprocess.DEVNULL, check=True)
        night = make_night(folder / "night", models, count, most_rows=5000)
        runs: dict[str, Callable[[], Outcome]] = {
            "local": lambda: run_local(night),
            "queue": lambda: run_over_queue(night, folder, deaths=max(2, count // 20)),
            "array": lambda: run_array(night, folder),
        }
        right = True
        for engine, run in runs.items():
            if engine == "queue" and needs_stand_in():
                path = stack.enter_context(fork_server(temporary_folder=folder))
                os.environ[FORK_SERVER_VARIABLE] = str(path)
            outcome: Any = run()
            right = right and outcome.is_right
            print(f"{engine}: {outcome.in_words()}", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
