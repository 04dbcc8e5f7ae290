"""Many jobs in one worker, faults mixed in: what grows?

python -m tests.faults.soak [JOBS]
"""

import random
import sys
import threading
import time
from dataclasses import dataclass

import psutil

from tests.faults.promise import run
from tests.faults.table import FAULTS
from tests.faults.world import World, world_of_its_own

WARM_UP_JOBS = 20
MOST_GROWTH = 1.10
# What the heap keeps differs by some ten megabytes from job to job, so a short run shows only what
# grows by a megabyte a job.
MOST_GROWTH_OF_A_SHORT_RUN = 1.6
_EVERY = 3
_SAMPLES = 40
_SPARE_CONNECTIONS = 3
_PLAIN_JOBS = 3


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of the worker between two jobs; memory in bytes, without what it shares.

    `files` are descriptors but for `connections`: those to storage stay open for the next job, as
    many as the busiest one has needed.
    """

    memory: int
    files: int
    connections: int
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

    def is_steady(self, most_growth: float) -> bool:
        """Whether nothing has grown, memory by no more than that factor."""
        return (
            self.growth <= most_growth
            and self.last.files <= self.warm.files
            and self.last.connections <= self.warm.connections + _SPARE_CONNECTIONS
            and self.last.threads <= self.warm.threads
        )


def soak(everything: World, undisturbed: dict[str, bytes], jobs: int) -> Soak:
    """Every third job meets a fault, each time another one. The worker stays the same."""
    # Those that end the worker would hide what it has gathered.
    faults = [fault for fault in FAULTS if "worker" not in fault.name and not fault.leaves]
    order = random.Random(1).sample(faults, len(faults))
    (worker,) = psutil.Process(everything.service.process.pid).children()
    warm = None
    for number in range(1, jobs + 1):
        if number % _EVERY == 0:
            run(order[number // _EVERY % len(order)], everything, undisturbed)
        else:
            _run_plain(everything, undisturbed)
        if number == WARM_UP_JOBS:
            warm = _after_plain_jobs(worker, everything, undisturbed)
    last = _after_plain_jobs(worker, everything, undisturbed)
    assert worker.is_running()
    assert warm is not None
    return Soak(warm, last, jobs)


def _run_plain(everything: World, undisturbed: dict[str, bytes]) -> None:
    everything.clear()
    assert everything.call().status_code == 200
    assert everything.outputs() == undisturbed


def _after_plain_jobs(
    worker: psutil.Process, everything: World, undisturbed: dict[str, bytes]
) -> Footprint:
    """What a job frees and the heap keeps differs from job to job: the same ones come before."""
    for _ in range(_PLAIN_JOBS):
        _run_plain(everything, undisturbed)
    return footprint(worker)


def footprint(worker: psutil.Process) -> Footprint:
    """The least of some seconds: a request that was given up ends by its own time-out."""
    samples = []
    for _ in range(_SAMPLES):
        connections = len(worker.net_connections("inet"))
        memory, files = worker.memory_full_info().uss, worker.num_fds() - connections
        samples.append((memory, files, connections, worker.num_threads()))
        threading.Event().wait(0.1)
    return Footprint(*(min(values) for values in zip(*samples, strict=True)))


def main(jobs: int) -> int:
    with world_of_its_own() as everything:
        assert everything.call().status_code == 200
        started = time.monotonic()
        result = soak(everything, everything.outputs(), jobs)
        seconds = time.monotonic() - started
    print(f"{jobs} jobs, every {_EVERY}rd with a fault, in {seconds:.0f} s")
    for when, held in ((f"after {WARM_UP_JOBS}", result.warm), (f"after {jobs}", result.last)):
        print(
            f"{when:>10}: {held.memory / 1e6:6.1f} MB, {held.files} files,"
            f" {held.connections} connections, {held.threads} threads"
        )
    print(f"memory x {result.growth:.3f}")
    return 0 if result.is_steady(MOST_GROWTH) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
