"""Many small models: by one command, by call after call, and by a script in one process."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from tests.fakes.many_models import name_of
from tests.fakes.processes import gunicorn

_TIMEOUT_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class NightResult:
    """Seconds for all models; medians."""

    fan_out: float
    calls: float
    script: float


def compare_nights(*, jobs: int, rounds: int) -> NightResult:
    """Each model has weights of its own, and an input of 1 to 5,000 rows. All is on local files."""
    fan_out, calls, scripts = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argv = [sys.executable, "-m", "tests.fakes.many_models", f"{folder}/models", str(jobs)]
        subprocess.run(argv, check=True, capture_output=True)
        for number in range(jobs):
            source = folder / "in" / name_of(number) / "a.jsonl"
            source.parent.mkdir(parents=True)
            rows = range(1 + number * 977 % 5000)
            source.write_text("".join(f"[{row}, 1, 2]\n" for row in rows))
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
