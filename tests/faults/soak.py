"""Many jobs in one worker, faults mixed in: what grows?

python -m tests.faults.soak [JOBS]
"""

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.table import FAULTS, Fault, run
from tests.faults.world import World, world

WARM_UP_JOBS = 20
MOST_GROWTH = 1.10
_EVERY = 3


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of the worker between two jobs; memory in bytes, without what it shares."""

    memory: int
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What the worker held after the first jobs, and after all of them."""

    warm: Footprint
    last: Footprint
    jobs: int

    @property
    def growth(self) -> float:
        return self.last.memory / self.warm.memory


def soak(everything: World, undisturbed: dict[str, bytes], jobs: int) -> Soak:
    """Every third job meets a fault, each time another one. The worker stays the same."""
    # Those that end the worker would hide what it has gathered.
    faults = [fault for fault in FAULTS if "worker" not in fault.name and not fault.leaves]
    order = random.Random(1).sample(faults, len(faults))
    (worker,) = psutil.Process(everything.service.process.pid).children()
    warm = None
    for number in range(1, jobs + 1):
        if number % _EVERY == 0:
            _meet(order[number // _EVERY % len(order)], everything, undisturbed)
        else:
            everything.clear()
            assert everything.call().status_code == 200
            assert everything.outputs() == undisturbed
        if number == WARM_UP_JOBS:
            warm = footprint(worker)
    assert worker.is_running()
    assert warm is not None
    return Soak(warm, footprint(worker), jobs)


def _meet(fault: Fault, everything: World, undisturbed: dict[str, bytes]) -> None:
    run(fault, everything, undisturbed)


def footprint(worker: psutil.Process) -> Footprint:
    memory = worker.memory_full_info().uss
    return Footprint(memory, worker.num_fds(), worker.num_threads())


def main(jobs: int) -> int:
    with tempfile.TemporaryDirectory(prefix="f-") as folder:
        models, own = Path(folder, "models"), Path(folder, "w")
        own.mkdir()
        subprocess.run(
            [sys.executable, "-m", "tests.fakes.models", str(models)],
            stderr=subprocess.DEVNULL,
            check=True,
        )
        with world(models, own) as everything:
            assert everything.call().status_code == 200
            started = time.monotonic()
            result = soak(everything, everything.outputs(), jobs)
            seconds = time.monotonic() - started
    print(f"{jobs} jobs, every {_EVERY}rd with a fault, in {seconds:.0f} s")
    for when, print_ in ((f"after {WARM_UP_JOBS}", result.warm), (f"after {jobs}", result.last)):
        print(
            f"{when:>10}: {print_.memory / 1e6:6.1f} MB, {print_.files} files,"
            f" {print_.threads} threads"
        )
    print(f"memory x {result.growth:.3f}")
    return 0 if result.growth <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
