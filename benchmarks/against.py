"""Another checkout of this project beside this one: the same jobs, by turns."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import numpy as np
import psutil

from benchmarks.cases import CASES, Case
from benchmarks.contestants import call
from benchmarks.formats import PAIRS
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn

_SMALL_FILES = 200


def compare(
    other: Path, url: str, bucket: Bucket, names: tuple[str, ...], *, rounds: int, quick: bool
) -> None:
    """Prints what each job takes here, and its ratio to that of the `other` checkout.

    The seconds are those beyond the model server's start, whose time varies by more than what is
    compared. The CPU seconds of the services, without their model servers, vary least.
    """
    here = Path(__file__).parents[1]
    with ExitStack() as stack:
        trees = [stack.enter_context(service_of(tree, url)) for tree in (here, other)]
        for name, model, source in _jobs(bucket, names, quick=quick):
            call(trees[0], model, source)
            try:
                call(trees[1], model, source)
            except RuntimeError as error:
                # An older checkout may not know the case.
                run = call(trees[0], model, source)
                beyond_start = run.seconds - run.phases["server_start"]
                click.echo(f"{name}: {beyond_start:.2f} s, refused there: {str(error)[:200]!r}")
                continue
            seconds: list[list[float]] = [[], []]
            cpu = [0.0, 0.0]
            for turn in range(rounds):
                # Whoever is first in a round finds caches cold, so they take turns in that too.
                order = (0, 1) if turn % 2 else (1, 0)
                for tree in order:
                    before = _cpu_seconds(trees[tree])
                    run = call(trees[tree], model, source)
                    cpu[tree] += _cpu_seconds(trees[tree]) - before
                    seconds[tree].append(run.seconds - run.phases["server_start"])
            ours, theirs = (float(np.median(each)) for each in seconds)
            click.echo(
                f"{name}: {ours:.2f} s, {theirs:.2f} s there, ratio {ours / theirs:.2f};"
                f" of the best {min(seconds[0]) / min(seconds[1]):.2f},"
                f" of CPU seconds {cpu[0] / cpu[1]:.2f}"
            )


@contextmanager
def service_of(tree: Path, url: str) -> Iterator[RunningService]:
    """The service of a checkout, with the storage at `url`."""
    environment = {"STORAGE_EMULATOR_HOST": url, "LOG_LEVEL": "WARNING"}
    # Where Python is started is where it finds `app` first.
    before = Path.cwd()
    os.chdir(tree)
    try:
        with gunicorn({**environment, "PYTHONPATH": str(tree)}) as service:
            os.chdir(before)
            yield service
    finally:
        os.chdir(before)


def _cpu_seconds(service: RunningService) -> float:
    """Of all threads of all workers so far, children left out."""
    workers = psutil.Process(service.process.pid).children()
    return sum(sum(worker.cpu_times()[:2]) for worker in workers)


def _jobs(bucket: Bucket, names: tuple[str, ...], *, quick: bool) -> Iterator[tuple[str, str, str]]:
    """Of each case: its name, its model, and where its input is."""
    for case in CASES:
        if not names or case.name in names:
            bucket.put("against/in.jsonl", _data(case, quick=quick))
            yield case.name, case.model, "against/in.jsonl"
    if names:
        return
    for pair in PAIRS:
        bucket.put(f"against/{pair.name}", pair.change(_data(pair.case, quick=quick)))
        yield pair.what, pair.case.model, f"against/{pair.name}"
    lines = CASES[0].data(200)
    for number in range(_SMALL_FILES):
        bucket.put(f"against/small/{number:04}.jsonl", lines)
    yield f"{_SMALL_FILES} files of 200 rows", CASES[0].model, "against/small/"
    bucket.put("against/one.jsonl", CASES[0].data(1))
    yield "one row", CASES[0].model, "against/one.jsonl"


def _data(case: Case, *, quick: bool) -> bytes:
    return case.data(case.quick_rows if quick else case.rows)
