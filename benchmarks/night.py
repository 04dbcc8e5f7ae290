"""Many small models: by one command, by call after call, and by a script in one process."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from tests.fakes.processes import gunicorn

_TIMEOUT_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class NightResult:
    """Seconds for all models; medians."""

    fan_out: float
    calls: float
    script: float


def compare_nights(models: Path, line: bytes, *, jobs: int, rounds: int) -> NightResult:
    """Each model has an input of 1 to 500 rows. Everything is on local files."""
    fan_out, calls, scripts = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(jobs):
            shutil.copytree(models / "network", folder / "models" / f"m{number:04}")
            source = folder / "in" / f"m{number:04}" / "a.jsonl"
            source.parent.mkdir(parents=True)
            source.write_bytes((line + b"\n") * (1 + number * 97 % 500))
        for turn in range(rounds):
            fan_out.append(_fan_out(folder, turn))
            calls.append(_calls(folder))
            scripts.append(_script(folder))
    medians = (float(np.median(seconds)) for seconds in (fan_out, calls, scripts))
    return NightResult(*medians)


def _fan_out(folder: Path, turn: int) -> float:
    argv = [sys.executable, "-m", "app.cli", "fan-out", "--models", f"{folder}/models/*/"]
    argv += ["--input", f"{folder}/in/{{name}}/", "--output", f"{folder}/fan-out/{{name}}/"]
    argv += ["--reports", f"{folder}/reports", "--run", f"turn-{turn}", "--force"]
    started = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True, timeout=_TIMEOUT_SECONDS)
    return time.monotonic() - started


def _calls(folder: Path) -> float:
    with gunicorn({"LOCAL_ROOTS": str(folder), "LOG_LEVEL": "WARNING"}) as service:
        started = time.monotonic()
        for model in sorted((folder / "models").iterdir()):
            parameters = {
                "model": f"{model}/",
                "input": f"{folder}/in/{model.name}/",
                "output": f"{folder}/calls/{model.name}/",
                "force": "true",
            }
            answer = requests.get(service.url, params=parameters, timeout=_TIMEOUT_SECONDS)
            answer.raise_for_status()
        return time.monotonic() - started


def _script(folder: Path) -> float:
    argv = [sys.executable, "-m", "benchmarks.tensorflow_loop", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.monotonic()
    subprocess.run(
        argv, env=environment, check=True, stderr=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
    )
    return time.monotonic() - started
