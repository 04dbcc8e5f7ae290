"""The costs that rows have no part in: files, one row, start, memory, a large model."""

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import requests

from app.storage import Connections, Storage, parse_location
from benchmarks.contestants import Ceiling, call, run_service
from tests.fakes.buckets import Bucket
from tests.fakes.processes import gunicorn
from tfserving_launcher import ModelServer

MEGABYTE = 1_000_000
# Asking how far a job is would slow it down, so nobody asks before it has most likely ended.
_QUIET_SECONDS = 1.0


def steady(
    storage_url: str, bucket: Bucket, data: bytes, ceiling: Ceiling, *, repeats: int, rounds: int
) -> tuple[float, float]:
    """Rows a second of a long stream of wide rows; and of the same stream without a model."""
    bucket.put("steady.jsonl", data * repeats)
    rows = data.count(b"\n") * repeats
    jobs, ceilings = [], []
    for _ in range(rounds):
        jobs.append(rows / run_service(storage_url, "network", "steady.jsonl").phases["predict"])
        ceilings.append(rows / ceiling.run(storage_url, "steady.jsonl"))
    return float(np.median(jobs)), float(np.median(ceilings))


def small_files(
    storage_url: str, bucket: Bucket, data: bytes, *, files: int, rounds: int
) -> tuple[float, float]:
    """Milliseconds a file: of a job, its server's start left out; and of the storage calls alone.

    The calls: one read and one write for each file, one after the other, by the same code.
    """
    for number in range(files):
        bucket.put(f"small/{number:04}.jsonl", data)
    environment = {"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}
    jobs, calls = [], []
    with gunicorn(environment) as service:
        for _ in range(rounds):
            jobs.append(call(service, "network", "small/").phases["predict"] / files)
            calls.append(_storage_calls() / files)
    return 1000 * float(np.median(jobs)), 1000 * float(np.median(calls))


def _storage_calls() -> float:
    connections = Connections(None)
    connections.warm_up()
    storage = Storage(connections=connections)
    target = parse_location("gs://bench/calls/", parameter="output")
    found = storage.list_below(parse_location("gs://bench/small/", parameter="input"))
    started = time.monotonic()
    for number, file in enumerate(found):
        content = b"".join(storage.read(file))
        place = target.below(f"{number}.jsonl")
        with storage.create(place, storage.find(place)) as output:
            output.write(content[: len(content) // 10])
            output.finish({})
    return time.monotonic() - started


def one_row(storage_url: str, models: Path, *, rounds: int) -> tuple[float, float]:
    """Seconds of a job of one row, and of starting the same server alone; medians."""
    jobs, starts = [], []
    environment = {"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}
    with gunicorn(environment) as service:
        for _ in range(rounds):
            jobs.append(call(service, "network", "one.jsonl").seconds)
            started = time.monotonic()
            with ModelServer(models / "network" / "1"):
                starts.append(time.monotonic() - started)
    return float(np.median(jobs)), float(np.median(starts))


def one_row_lasting(storage_url: str, *, rounds: int) -> tuple[float, float, float]:
    """Seconds of a job of one row that lasts, of the same job while its caller waits, and of
    writing a record once; medians. The first ends where its end is about to be recorded.
    """
    lasting, waiting, writes = [], [], []
    records = "gs://bench/records/"
    environment = {"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}
    parameters = {
        "model": "gs://bench/models/network/",
        "input": "gs://bench/one.jsonl",
        "output": "gs://bench/ours/",
        "force": True,
    }
    place = parse_location(records, parameter="JOBS_URI").below("write.json")
    storage = Storage()
    with gunicorn({**environment, "JOBS_URI": records}) as service:
        for _ in range(rounds):
            waiting.append(call(service, "network", "one.jsonl").seconds)
            started = time.time()
            job = requests.post(f"{service.url}/jobs", json=parameters, timeout=60).json()
            url = f"{service.url}/jobs/{job['job_id']}"
            while "end_time" not in job:
                time.sleep(_QUIET_SECONDS)
                job = requests.get(url, timeout=60).json()
            lasting.append(datetime.fromisoformat(job["end_time"]).timestamp() - started)
            began = time.monotonic()
            with storage.create(place, storage.find(place)) as record:
                record.write(b"{}" * 500)
                record.finish({})
            writes.append(time.monotonic() - began)
    medians = (float(np.median(seconds)) for seconds in (lasting, waiting, writes))
    return next(medians), next(medians), next(medians)


def service_start(storage_url: str, *, rounds: int) -> float:
    """Seconds from starting the process until /health answers; the median."""
    seconds = []
    for _ in range(rounds):
        started = time.monotonic()
        with gunicorn({"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}):
            seconds.append(time.monotonic() - started)
    return float(np.median(seconds))


def memory(
    storage_url: str, bucket: Bucket, data: bytes, sizes: tuple[int, ...]
) -> dict[int, float]:
    """Peak megabytes of the service's process, by megabytes of input."""
    peaks = {}
    for size in sizes:
        repeats = size * MEGABYTE // len(data) + 1
        bucket.put("memory.jsonl", data * repeats)
        peaks[size] = run_service(storage_url, "network", "memory.jsonl").peak_bytes / MEGABYTE
    return peaks


def large_model(storage_url: str, *, rounds: int) -> dict[str, float]:
    """Seconds by phase of a job of one row with a model of 300 MB; medians."""
    runs = [run_service(storage_url, "large", "one.jsonl").phases for _ in range(rounds)]
    return {phase: float(np.median([run[phase] for run in runs])) for phase in runs[0]}
