"""The command line of the benchmark: `scripts/bench --help`."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks import costs as measure
from benchmarks.against import compare
from benchmarks.cases import CASES, Case
from benchmarks.contestants import ceiling_of, run_script, run_service, same_predictions
from benchmarks.distant_storage import DistantCase, distant_cases
from benchmarks.formats import format_costs
from benchmarks.latency import first_rows
from benchmarks.night import compare_nights
from benchmarks.results import CaseResult, Cost, print_tables, write_results
from benchmarks.run_page import run_page
from tests.fakes.buckets import Bucket
from tests.fakes.processes import fake_gcs_server
from tfserving_launcher import available_cpus, find_program

COSTS: tuple[str, ...] = (
    "whole file by REST",
    "steady",
    "small files",
    "one row",
    "one row that lasts",
    "night",
    "page of a run",
    "start",
    "memory",
    "formats",
    "large model",
    "before the first row",
    "distant storage",
)
_NAMES = [case.name for case in CASES] + list(COSTS)


@click.command()
@click.option("--case", "names", multiple=True, type=click.Choice(_NAMES), help="Only these.")
@click.option("--rounds", default=3, show_default=True, help="Of which medians are taken.")
@click.option("--quick", is_flag=True, help="Fewer rows, one round, under two minutes.")
@click.option("--write", is_flag=True, help="Write benchmarks/results.md and the chart.")
@click.option(
    "--against",
    "other",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare with another checkout of this project, with this one's packages.",
)
def main(
    names: tuple[str, ...], rounds: int, other: Path | None, *, quick: bool, write: bool
) -> None:
    """Measures the service and its rivals on the same data, by turns, in this run."""
    rounds = 1 if quick else rounds
    chosen = names or _NAMES
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder, fake_gcs_server() as url:
        models = Path(folder)
        argv = [sys.executable, "-m", "benchmarks.models", folder]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(argv, env=environment, stderr=subprocess.DEVNULL, check=True)
        os.environ["STORAGE_EMULATOR_HOST"] = url
        bucket = Bucket(url, "bench")
        bucket.put_folder("models", models)
        if "distant storage" in chosen:
            costs += distant_costs(models, other, rounds=rounds, quick=quick)
        if other and names != ("distant storage",):
            compare(other.resolve(), url, bucket, names, rounds=rounds, quick=quick)
        if other:
            print_tables([], costs, "storage at 50 ms a request and 30 MB/s a connection")
            return
        results = [
            run_case(case, url, bucket, models, rounds=rounds, quick=quick)
            for case in CASES
            if case.name in chosen
        ]
        costs += run_costs(chosen, url, bucket, models, rounds=rounds, quick=quick)
    size = "quick mode, " if quick else ""
    title = f"{size}{available_cpus()} CPUs, medians of {rounds}, model server: {find_program()}"
    title = title.replace(sys.executable, "python")
    print_tables(results, costs, title)
    if write:
        write_results(results, costs, title)


def run_case(
    case: Case, url: str, bucket: Bucket, models: Path, *, rounds: int, quick: bool
) -> CaseResult:
    rows = case.quick_rows if quick else case.rows
    data = case.data(rows)
    bucket.put("in.jsonl", data)
    ceiling, start = ceiling_of(models / case.model / "1", data.partition(b"\n")[0])
    ours, scripts, ceilings = [], [], []
    for _ in range(rounds):
        ours.append(run_service(url, case.model, "in.jsonl"))
        scripts.append(run_script("tensorflow_script", url, case.model, "in.jsonl"))
        ceilings.append(ceiling.run(url, "in.jsonl"))
        click.echo(
            f"{case.name}: service {ours[-1].seconds:.2f} s, script {scripts[-1]:.2f} s,"
            f" ceiling {ceilings[-1]:.2f} s of {ours[-1].phases['predict']:.2f} s",
            err=True,
        )
    return CaseResult(
        name=case.name,
        rows=rows,
        megabytes=len(data) / measure.MEGABYTE,
        ours=float(np.median([run.seconds for run in ours])),
        script=float(np.median(scripts)),
        steady=float(np.median([run.phases["predict"] for run in ours])),
        ceiling=float(np.median(ceilings)),
        start=float(np.median([start, *(run.phases["server_start"] for run in ours)])),
        at_most=case.at_most,
        same=same_predictions(bucket, "in.jsonl"),
    )


def whole_file_cost(url: str, bucket: Bucket, *, rounds: int, quick: bool) -> Cost:
    name = "wide rows, the whole file as one REST request"
    target = "the honest ratio; Embedded-tf in Go took 117 s"
    if not find_program().knows("rest_api_port"):
        return Cost(name, "this model server program offers no REST", target, None)
    case = CASES[0]
    bucket.put("in.jsonl", case.data(case.quick_rows if quick else case.rows))
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(run_script("whole_file_rest", url, case.model, "in.jsonl"))
        ours.append(run_service(url, case.model, "in.jsonl").seconds)
    ratio = float(np.median(theirs) / np.median(ours))
    words = f"{np.median(theirs):.1f} s, {ratio:.1f} times the service's {np.median(ours):.2f} s"
    return Cost(name, words, target, None)


def lasting_cost(url: str, *, rounds: int) -> Cost:
    job, waiting, write = measure.one_row_lasting(url, rounds=max(9, rounds))
    return Cost(
        "a job of one row that lasts",
        f"{1000 * job:.0f} ms; while its caller waits {1000 * waiting:.0f} ms; a write to storage"
        f" {1000 * write:.1f} ms",
        "10 ms beyond it and two writes",
        job - waiting - 2 * write <= 0.01,
    )


def start_cost(url: str, *, rounds: int) -> Cost:
    seconds = measure.service_start(url, rounds=max(3, rounds))
    return Cost("process start to /health", f"{seconds:.2f} s", "0.8 s", seconds <= 0.8)


def memory_costs(url: str, bucket: Bucket, wide: bytes, *, quick: bool) -> list[Cost]:
    sizes = (10, 100) if quick else (10, 100, 1000)
    return [
        Cost(f"peak memory, {size} MB of input", f"{peak:.0f} MB", "150 MB", peak <= 150)
        for size, peak in measure.memory(url, bucket, wide, sizes).items()
    ]


def large_model_cost(url: str, *, rounds: int) -> Cost:
    phases = measure.large_model(url, rounds=rounds)
    words = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items())
    return Cost("a model of 300 MB, one row", words, "", None)


def first_row_costs(url: str, bucket: Bucket, models: Path, *, rounds: int) -> Iterator[Cost]:
    for row in first_rows(url, bucket, models, rounds=rounds):
        phases = ", ".join(f"{name} {1000 * value:.0f}" for name, value in row.phases.items())
        words = f"{1000 * row.seconds:.0f} ms: {phases}"
        cost = Cost(f"{row.model}, {row.way}", words, "", None)
        if row.floor is not None:
            ratio = sum(row.phases.values()) / row.floor
            words += f"; {ratio:.2f} of the floor's {1000 * row.floor:.0f}"
            cost = replace(cost, value=words, target="1.15 of the floor", met=ratio <= 1.15)
        elif (row.model, row.way) == ("network", "kept server"):
            cost = replace(cost, target="60 ms", met=row.seconds <= 0.06)
        yield cost


def night_cost(*, rounds: int, quick: bool) -> Cost:
    jobs = 50 if quick else 300
    night = compare_nights(jobs=jobs, rounds=rounds)
    words = (
        f"{60 * jobs / night.fan_out:.0f} models a minute, {night.calls / night.fan_out:.2f} times"
        f" the speed of calls one after the other, {night.script / night.fan_out:.2f} times that of"
        " TensorFlow in one process"
    )
    return Cost(
        f"{jobs} small models", words, "2.0 times the calls", night.calls >= 2 * night.fan_out
    )


def distant_costs(models: Path, other: Path | None, *, rounds: int, quick: bool) -> Iterator[Cost]:
    targets: dict[str, tuple[str, Callable[[DistantCase], bool]]] = {
        "500 files of 200 rows": ("6 s", lambda case: case.seconds <= 6),
        "1000 MB in one file": ("150 MB of memory", lambda case: case.peak_megabytes <= 150),
    }
    for case in distant_cases(models, other, rounds=rounds, quick=quick):
        before = f"; the other checkout {case.other:.2f} s" if case.other else ""
        requests = ", ".join(f"{kind} {count}" for kind, count in case.requests.items())
        words = (
            f"{case.seconds:.2f} s, of which the server's start {case.server_start:.2f} s{before};"
            f" copied one after the other {case.floor:.2f} s; {case.peak_megabytes:.0f} MB;"
            f" requests: {requests}"
        )
        cost = Cost(f"distant: {case.name}", words, "", None)
        if case.name in targets:
            target, is_met = targets[case.name]
            cost = replace(cost, target=target, met=is_met(case))
        yield cost


def job_costs(
    chosen: tuple[str, ...] | list[str],
    url: str,
    *,
    rounds: int,
    quick: bool,
) -> list[Cost]:
    costs = []
    if "one row that lasts" in chosen:
        costs.append(lasting_cost(url, rounds=rounds))
    if "night" in chosen:
        costs.append(night_cost(rounds=rounds, quick=quick))
    if "page of a run" in chosen:
        records = 1000 if quick else 5000
        seconds, size = run_page(url, records=records, rounds=max(5, rounds))
        words = f"{seconds:.2f} s, {size / 1e6:.1f} MB"
        costs.append(Cost(f"the page of a run of {records:,} jobs", words, "1 s", seconds <= 1))
    return costs


def run_costs(
    chosen: tuple[str, ...] | list[str],
    url: str,
    bucket: Bucket,
    models: Path,
    *,
    rounds: int,
    quick: bool,
) -> list[Cost]:
    wide = CASES[0].data(1000)
    bucket.put("one.jsonl", wide.partition(b"\n")[0])
    costs = []
    if "whole file by REST" in chosen:
        costs.append(whole_file_cost(url, bucket, rounds=rounds, quick=quick))
    if "steady" in chosen:
        ceiling, _ = ceiling_of(models / "network" / "1", wide.partition(b"\n")[0])
        repeats = 100 if quick else 500
        job, most = measure.steady(url, bucket, wide, ceiling, repeats=repeats, rounds=rounds)
        costs.append(
            Cost(
                f"steady state, {repeats * 1000:,} wide rows",
                f"{job:,.0f} rows/s, {job / most:.2f} of the ceiling's {most:,.0f}",
                "300,000 rows/s and 0.7 of the ceiling",
                job >= 300_000 and job / most >= 0.7,
            )
        )
    if "small files" in chosen:
        files = 100 if quick else 500
        lines = b"\n".join(wide.splitlines()[:200]) + b"\n"
        job, calls = measure.small_files(url, bucket, lines, files=files, rounds=rounds)
        costs.append(
            Cost(
                f"{files} files of 200 rows, a file",
                f"{job:.1f} ms; its storage calls alone {calls:.1f} ms",
                "5 ms beyond the calls",
                job - calls <= 5,
            )
        )
    if "one row" in chosen:
        job, start = measure.one_row(url, models, rounds=max(7, rounds))
        costs.append(
            Cost(
                "a job of one row",
                f"{1000 * job:.0f} ms; its server alone {1000 * start:.0f} ms",
                "100 ms beyond the server",
                job - start <= 0.1,
            )
        )
    costs += job_costs(chosen, url, rounds=rounds, quick=quick)
    if "start" in chosen:
        costs.append(start_cost(url, rounds=rounds))
    if "memory" in chosen:
        costs += memory_costs(url, bucket, wide, quick=quick)
    if "formats" in chosen:
        costs += format_costs(url, bucket, rounds=rounds, quick=quick)
    if "before the first row" in chosen and not quick:
        costs += first_row_costs(url, bucket, models, rounds=max(5, rounds))
    if "large model" in chosen and not quick:
        costs.append(large_model_cost(url, rounds=rounds))
    return costs


if __name__ == "__main__":
    main()
