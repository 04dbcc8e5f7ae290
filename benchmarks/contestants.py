"""Who runs a case: the service, the script with TensorFlow, and the ceiling without any model."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests

from app.codec.instances import InstanceEncoder
from app.codec.predictions import encode_predictions
from app.concurrency.deadline import Deadline
from app.concurrency.pipeline import Pipeline
from app.framing.batches import BatchLimits, make_batches
from app.framing.lines import as_lines, read_lines
from app.job.row_errors import RowErrors
from app.job.served_model import BYTES_PER_BATCH, ROWS_PER_BATCH
from app.storage import Connections, Storage, parse_location
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn
from tfserving_launcher import ModelServer, Signature
from tfserving_launcher.tensors import Array


@dataclass(frozen=True, slots=True)
class ServiceRun:
    """One job over HTTP: wall seconds, its own seconds by phase, the worker's peak memory, and its
    requests to storage, which older checkouts do not count.
    """

    seconds: float
    phases: dict[str, float]
    peak_bytes: int
    storage_requests: dict[str, int]


def run_service(storage_url: str, model: str, source: str) -> ServiceRun:
    """A job in a service of its own, which is started before the clock."""
    with gunicorn({"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}) as service:
        return call(service, model, source)


def call(service: RunningService, model: str, source: str, **parameters: str) -> ServiceRun:
    """One job of a service that runs, with more `parameters`."""
    parameters |= {
        "model": f"gs://bench/models/{model}/",
        "input": f"gs://bench/{source}",
        "output": "gs://bench/ours/",
        # What the round before has written counts as not there.
        "force": "true",
    }
    started = time.monotonic()
    response = requests.get(service.url, params=parameters, timeout=1800)
    seconds = time.monotonic() - started
    if not response.ok:
        raise RuntimeError(response.text)
    body = response.json()
    return ServiceRun(
        seconds, body["seconds"], peak_memory(service), body.get("storage_requests", {})
    )


def peak_memory(service: RunningService) -> int:
    """Bytes: the largest resident set that the worker has had (proc(5), VmHWM)."""
    (worker,) = [
        child
        for child in psutil.Process(service.process.pid).children()
        if "gunicorn" in " ".join(child.cmdline())
    ]
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def run_script(script: str, storage_url: str, model: str, source: str) -> float:
    """Seconds of a whole rival script, `benchmarks.<script>`, from its start to its end."""
    argv = [sys.executable, "-m", f"benchmarks.{script}", f"gs://bench/models/{model}/"]
    argv += [f"gs://bench/{source}", "gs://bench/script/out.jsonl"]
    environment = {
        **os.environ,
        "STORAGE_EMULATOR_HOST": storage_url,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    started = time.monotonic()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return time.monotonic() - started


def same_predictions(bucket: Bucket, name: str) -> bool:
    """Whether service and script wrote the same numbers, to what two builds may differ in."""
    ours = [json.loads(line) for line in bucket.get(f"ours/{name}").splitlines()]
    script = [json.loads(line) for line in bucket.get("script/out.jsonl").splitlines()]
    return len(ours) == len(script) and all(map(_close, ours, script))


def _close(one: object, other: object) -> bool:
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    return np.allclose(np.array(one), np.array(other), rtol=1e-4, atol=1e-6)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The service's own steps between storage and storage, with outputs from memory for a model."""

    signature: Signature
    outputs: dict[str, Array]

    def run(self, storage_url: str, source: str) -> float:
        """Seconds to read, parse, write and upload; the same threads, no model server."""
        os.environ["STORAGE_EMULATOR_HOST"] = storage_url
        connections = Connections(None)
        connections.warm_up()
        storage = Storage(connections=connections)
        file = storage.find(parse_location(f"gs://bench/{source}", parameter="input"))
        assert file is not None
        target = parse_location("gs://bench/ceiling/out.jsonl", parameter="output")
        started = time.monotonic()
        with (
            storage.create(target, storage.find(target)) as output,
            Pipeline(Deadline.never()) as pipeline,
        ):
            blocks = pipeline.prefetch(storage.read(file), name="read", max_items=4)
            rows = pipeline.prefetch(self._rows(blocks), name="encode", max_items=3)
            for text in pipeline.prefetch(self._texts(rows), name="decode", max_items=2):
                output.write(text)
            output.finish({})
        return time.monotonic() - started

    def _rows(self, blocks: Iterator[bytes]) -> Iterator[int]:
        bad_rows = RowErrors(skip=False)
        encoder = InstanceEncoder(self.signature, bad_rows)
        limits = BatchLimits(max_rows=ROWS_PER_BATCH, max_bytes=BYTES_PER_BATCH)
        for batch in make_batches(
            read_lines(blocks, max_line_bytes=2**30, on_row_error=bad_rows), limits
        ):
            yield sum(len(group.rows) for group in encoder.encode(batch))

    def _texts(self, batches: Iterator[int]) -> Iterator[bytes]:
        for rows in batches:
            outputs = {name: np.repeat(one, rows, axis=0) for name, one in self.outputs.items()}
            yield encode_predictions(outputs, rows, rows_sent=rows)


def ceiling_of(version_dir: Path, first_line: bytes) -> tuple[Ceiling, float]:
    """The ceiling for a model, and the seconds that its server took to start, alone."""
    started = time.monotonic()
    with ModelServer(version_dir) as server:
        start_seconds = time.monotonic() - started
        signature = server.signature()
        (group,) = InstanceEncoder(signature, RowErrors(skip=False)).encode(
            as_lines(1, first_line + b"\n")
        )
        return Ceiling(signature, server.predict(group.tensors)), start_seconds
