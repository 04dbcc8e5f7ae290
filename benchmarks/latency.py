"""From the call to the first row: a job of one row, by what is there before the call."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from benchmarks.contestants import ServiceRun, call
from tests.fakes.buckets import Bucket
from tests.fakes.processes import NOT_FORKED, gunicorn
from tests.fakes.tflite import converted
from tfserving_launcher import ModelServer, needs_stand_in

_WARM_UP = "gs://bench/warm-up.jsonl"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FirstRow:
    """Medians of a job of one row: its seconds, and those of its phases.

    `floor` are the seconds of reading the model's files over one connection each, and of the
    server's start from local files; None where nothing is fetched.
    """

    model: str
    way: str
    seconds: float
    phases: Mapping[str, float]
    floor: float | None = None


def first_rows(
    storage_url: str, bucket: Bucket, models: Path, *, rounds: int
) -> Iterator[FirstRow]:
    """For a small model, one of 300 MB, and the small one as TensorFlow Lite."""
    bucket.put("warm-up.jsonl", bucket.get("one.jsonl"))
    rows = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        lite = converted(models / "network" / "1", Path(folder), rows)
        bucket.put_folder("models/lite/1", lite)
        for model, version_dir in (
            ("network", models / "network" / "1"),
            ("large", models / "large" / "1"),
            ("lite", lite),
        ):
            floor = _floor(storage_url, bucket, model, version_dir, rounds=rounds)
            yield from _of_model(storage_url, model, floor, rounds=rounds)


def _of_model(storage_url: str, model: str, floor: float, *, rounds: int) -> Iterator[FirstRow]:
    environment = {"STORAGE_EMULATOR_HOST": storage_url, "LOG_LEVEL": "WARNING", **NOT_FORKED}
    with gunicorn(environment) as service:
        call(service, model, "one.jsonl")
        yield _median(
            model, "cold", [call(service, model, "one.jsonl") for _ in range(rounds)], floor
        )
        yield _median(
            model,
            "cold, with warm-up",
            [call(service, model, "one.jsonl", warm_up_data_path=_WARM_UP) for _ in range(rounds)],
        )
    with gunicorn({**environment, "KEEP_MODELS": "1"}) as service:
        call(service, model, "one.jsonl")
        yield _median(
            model, "kept server", [call(service, model, "one.jsonl") for _ in range(3 * rounds)]
        )
    for warm_up in ({}, {"WARM_UP_DATA_PATH": _WARM_UP}):
        runs = []
        for _ in range(rounds):
            own = {**environment, "MODEL": f"gs://bench/models/{model}/", **warm_up}
            with gunicorn(own) as service:
                runs.append(call(service, model, "one.jsonl"))
        with_it = ", with warm-up" if warm_up else ""
        yield _median(model, f"MODEL, first call{with_it}", runs)
    if needs_stand_in():
        # Unset, so that the service forks its servers.
        forked = {**environment, "MODEL_SERVER": "tensorflow"}
        del forked[next(iter(NOT_FORKED))]
        with gunicorn(forked) as service:
            call(service, model, "one.jsonl")
            yield _median(
                model,
                "cold, MODEL_SERVER=tensorflow",
                [call(service, model, "one.jsonl") for _ in range(rounds)],
            )


def _median(model: str, way: str, runs: list[ServiceRun], floor: float | None = None) -> FirstRow:
    phases = {
        name: float(np.median([run.phases.get(name, 0.0) for run in runs]))
        for name in ("model_download", "server_start", "warm_up", "first_call")
    }
    return FirstRow(model, way, float(np.median([run.seconds for run in runs])), phases, floor)


def _floor(
    storage_url: str, bucket: Bucket, model: str, version_dir: Path, *, rounds: int
) -> float:
    """Seconds of what no service can do without: the bytes, and the server's own start."""
    seconds = []
    names = bucket.names(f"models/{model}/")
    for _ in range(rounds):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, requests.Session() as session:
            for number, name in enumerate(names):
                address = f"{storage_url}/download/storage/v1/b/bench/o/{name.replace('/', '%2F')}"
                with (
                    session.get(
                        address, params={"alt": "media"}, stream=True, timeout=60
                    ) as answer,
                    Path(folder, str(number)).open("wb") as file,
                ):
                    file.writelines(answer.iter_content(_BLOCK_BYTES))
        with ModelServer(version_dir):
            seconds.append(time.monotonic() - started)
    return float(np.median(seconds))
