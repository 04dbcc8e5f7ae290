"""A SavedModel as a TensorFlow Lite model, through the project's own converter."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from app.savedmodel.tflite_conversion import ConversionRequest
from tfserving_launcher.tensors import Array


def converted(source: Path, folder: Path, rows: Array) -> Path:
    """A version folder below `folder`, called as `source`, whose weights are float16.

    `rows` are samples for the input `x`.
    """
    version_dir = folder / source.name
    version_dir.mkdir()
    samples = folder / "samples.npz"
    np.savez(samples, x=rows)
    request = ConversionRequest(
        source=str(source),
        target=str(version_dir / "model.tflite"),
        signature_name="serving_default",
        precision="float16",
        samples=str(samples),
    )
    subprocess.run(
        [sys.executable, "-m", "app.savedmodel.tflite_conversion", request.as_argument()],
        check=True,
        capture_output=True,
    )
    return version_dir
