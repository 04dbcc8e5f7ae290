"""The whole path on one machine: `scripts/demo`.

A small Keras network learns scikit-learn's handwritten digits; its SavedModel and all images, as
JSON lines, go into a real fake-gcs-server; the service runs under gunicorn and is called once.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import numpy as np
import requests
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, fake_gcs_server, gunicorn

BUCKET = "demo"


def main() -> None:
    """Prints each step, the report, the first predictions and their accuracy."""
    digits = load_digits()
    with tempfile.TemporaryDirectory() as folder, fake_gcs_server() as storage_url:
        say(f"fake-gcs-server answers at {storage_url}")
        say(f"training a small network on half of {len(digits.images):,} handwritten digits")
        train(Path(folder, "digits", "1"))
        bucket = Bucket(storage_url, BUCKET)
        bucket.put_folder("models/digits", Path(folder, "digits"))
        bucket.put("images/digits.jsonl", json_lines(digits.images))
        say(f"uploaded to gs://{BUCKET}: {', '.join(bucket.names())}")
        with gunicorn({"STORAGE_EMULATOR_HOST": storage_url}) as service:
            say(f"the service answers at {service.url}")
            call(service)
        lines = bucket.get("predictions/digits.jsonl").splitlines()
    say("first predictions, one line for each image: the probability of each digit")
    for line in lines[:3]:
        print(shortened(line.decode()))
    predicted = np.argmax([json.loads(line) for line in lines], axis=1)
    accuracy = np.mean(predicted == digits.target)
    say(f"accuracy over all {len(lines):,} images: {accuracy:.3f}")


def train(version_dir: Path) -> None:
    """In a process of its own, because TensorFlow has much to say that is of no use here."""
    argv = [sys.executable, "-m", "demo.train", str(version_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)


def json_lines(images: NDArray[np.float64]) -> str:
    return "".join(json.dumps(image.tolist()) + "\n" for image in images)


def call(service: RunningService) -> None:
    query = urllib.parse.urlencode(
        {
            "model": f"gs://{BUCKET}/models/digits/",
            "input": f"gs://{BUCKET}/images/",
            "output": f"gs://{BUCKET}/predictions/",
        },
        safe=":/",
    )
    say(f'curl "{service.url}/?{query}"')
    started = time.monotonic()
    response = requests.get(f"{service.url}/?{query}", timeout=120)
    print(response.text.strip())
    say(f"HTTP {response.status_code} after {time.monotonic() - started:.1f} s")
    response.raise_for_status()


def shortened(line: str) -> str:
    return line if len(line) <= 100 else line[:97] + "..."


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
