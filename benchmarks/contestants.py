"""Who runs a case: the service, the script with TensorFlow, and the ceiling without any model."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests

from app.batches import BatchLimits, make_batches
from app.instances import InstanceEncoder
from app.job import BYTES_PER_BATCH, ROWS_PER_BATCH
from app.lines import read_lines
from app.predictions import encode_predictions
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn
from tfserving_launcher import ModelServer, Signature
from tfserving_launcher.tensors import Array

_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServiceRun:
    """One job over HTTP: wall seconds, its own seconds by phase, the worker's peak memory."""

    seconds: float
    phases: dict[str, float]
    peak_bytes: int


def run_service(storage_url: str, model: str, source: str) -> ServiceRun:
    """A job in a service of its own, which is started before the clock."""
    with gunicorn({"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING"}) as service:
        return call(service, model, source)


def call(service: RunningService, model: str, source: str) -> ServiceRun:
    """One job of a service that runs."""
    parameters = {
        "model": f"gs://bench/models/{model}/",
        "input": f"gs://bench/{source}",
        "output": "gs://bench/ours/",
    }
    started = time.monotonic()
    response = requests.get(service.url, params=parameters, timeout=1800)
    seconds = time.monotonic() - started
    if not response.ok:
        raise RuntimeError(response.text)
    return ServiceRun(seconds, response.json()["seconds"], peak_memory(service))


def peak_memory(service: RunningService) -> int:
    """Bytes: the largest resident set that the worker has had (proc(5), VmHWM)."""
    (worker,) = psutil.Process(service.process.pid).children()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def run_script(storage_url: str, model: str, source: str) -> float:
    """Seconds of the whole script, from its start to its end."""
    argv = [sys.executable, "-m", "benchmarks.tensorflow_script"]
    argv += [f"gs://bench/models/{model}/", f"gs://bench/{source}", "gs://bench/script/out.jsonl"]
    environment = {
        **os.environ,
        "STORAGE_EMULATOR_HOST": storage_url,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    started = time.monotonic()
    subprocess.run(argv, env=environment, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def same_predictions(bucket: Bucket, name: str) -> bool:
    """Whether service and script wrote the same numbers, to what two builds may differ in."""
    import json

    ours = [json.loads(line) for line in bucket.get(f"ours/{name}").splitlines()]
    script = [json.loads(line) for line in bucket.get("script/out.jsonl").splitlines()]
    return len(ours) == len(script) and all(map(_close, ours, script))


def _close(one: object, other: object) -> bool:
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    return np.allclose(np.array(one), np.array(other), rtol=1e-4, atol=1e-6)


def ceiling(signature: Signature, data: bytes, predict: Callable[[int], dict[str, Array]]) -> float:
    """Seconds to parse the lines and write as many predictions, one thread, no model, no storage.

    `predict` gives the outputs of so many rows from memory.
    """
    source, target = io.BytesIO(data), io.BytesIO()
    encoder = InstanceEncoder(signature, "bench")
    limits = BatchLimits(max_rows=ROWS_PER_BATCH, max_bytes=BYTES_PER_BATCH)
    started = time.monotonic()
    blocks = iter(lambda: source.read(_BLOCK_BYTES), b"")
    for batch in make_batches(read_lines(blocks, max_line_bytes=2**30, file="bench"), limits):
        encoder.encode(batch)
        rows = len(batch.texts)
        target.write(encode_predictions(predict(rows), rows, rows_sent=rows))
    return time.monotonic() - started


def signature_and_outputs(
    version_dir: Path, first_line: bytes
) -> tuple[Signature, Callable[[int], dict[str, Array]]]:
    """What `ceiling` needs of a model: its signature, and outputs to repeat."""
    from app.batches import Batch

    with ModelServer(version_dir) as server:
        signature = server.signature()
        tensors = InstanceEncoder(signature, "bench").encode(Batch([first_line], [1]))
        outputs = server.predict(tensors)
    return signature, lambda rows: {
        name: np.repeat(array, rows, axis=0) for name, array in outputs.items()
    }
