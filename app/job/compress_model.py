"""Makes a TensorFlow Lite version of a model, and holds both against each other."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from app.codec.signatures import default_signature
from app.errors import AlreadyExists, FailedPrecondition, InvalidModel
from app.job.context import JobContext
from app.job.warm_up_file import TimedServer, loading, requests_of, timed_server
from app.job.warming_up import of_size
from app.savedmodel.fetch_model import fetch_model
from app.savedmodel.tflite_conversion import ConversionRequest
from app.serving.error_translation import without_own_paths
from app.serving.supervised_server import Tensors
from app.serving.warm_up_requests import MOST_REQUESTS
from app.settings import Settings
from app.storage import Connections, ContentType, Location
from app.telemetry.progress import Progress
from tfserving_launcher.saved_model import TFLITE_FILE
from tfserving_launcher.tensors import Array

Precision = Literal["float16", "int8"]

_CONTENT = ContentType("application/octet-stream")
_SHOWN_LINES = 3
_MEASURED_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """One of the two models: bytes of its files, seconds until it is ready, rows per second."""

    size: int
    load_seconds: float
    rows_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The two models, and by output the largest absolute difference of their predictions.

    Outputs that are no numbers have the share of values that differ.
    """

    target: Location
    rows: int
    original: ModelFigures
    compressed: ModelFigures
    differences: dict[str, float]


def compress_model(
    model: Location,
    output: Location,
    rows: Location,
    *,
    precision: Precision,
    signature_name: str | None,
    settings: Settings,
    connections: Connections,
    progress: Progress,
) -> Comparison:
    """Convert a model, compare both on sample rows, and write the version folder below `output`.

    Raises FailedPrecondition without the TensorFlow package, InvalidModel for a model that cannot
    be converted, and JobError. Nothing is written then.
    """
    if importlib.util.find_spec("tensorflow") is None or not _has_converter():
        raise FailedPrecondition(
            "compress needs the whole TensorFlow package, for its converter: pip install"
            " tensorflow-cpu; the service does not need it"
        )
    with (
        loading(model, signature_name, settings, connections, progress) as (job, found),
        TemporaryDirectory(prefix="embedded-tf-") as temporary,
    ):
        folder = Path(temporary)
        if found.is_tflite:
            raise InvalidModel(f"model: {found.folder} is a TensorFlow Lite model already")
        if job.storage.find(target := output.below(f"{found.version_name}/{TFLITE_FILE}")):
            raise AlreadyExists(f"output: {target} is there already; delete it, or name another")
        batches = _batches(
            [
                of_size(request.tensors, request.rows)
                for request in requests_of(job, found, rows, MOST_REQUESTS)
            ]
        )
        source = fetch_model(found, job.storage, folder, job.deadline.remaining)
        with timed_server(job, source) as original:
            name = signature_name or default_signature(original.server.signature_names())
            predictions = list(_predictions(original, batches, name))
            figures = _figures(found.size, original, batches, name)
        converted = folder / "compressed" / source.name / TFLITE_FILE
        converted.parent.mkdir(parents=True)
        request = ConversionRequest(
            source=str(source),
            target=str(converted),
            signature_name=name,
            precision=precision,
            samples=str(folder / "samples.npz"),
        )
        _convert(job, request, batches[0])
        with timed_server(job, converted.parent) as compressed:
            others = list(_predictions(compressed, batches, name))
            size = converted.stat().st_size
            comparison = Comparison(
                target=target,
                rows=sum(map(_rows, batches)),
                original=figures,
                compressed=_figures(size, compressed, batches, name),
                differences=_differences(predictions, others),
            )
        with job.storage.create(comparison.target, content=_CONTENT) as writer:
            writer.write(converted.read_bytes())
            writer.finish({})
    return comparison


def _has_converter() -> bool:
    return importlib.util.find_spec("tensorflow.lite.python.lite") is not None


def _batches(requests: Sequence[Tensors]) -> list[Tensors]:
    """The rows in as few batches as their shapes allow."""
    by_shape: dict[tuple[object, ...], list[Tensors]] = {}
    for tensors in requests:
        key = tuple((name, array.shape[1:]) for name, array in tensors.items())
        by_shape.setdefault(key, []).append(tensors)
    return [
        {name: np.concatenate([one[name] for one in group]) for name in group[0]}
        for group in by_shape.values()
    ]


def _rows(batch: Tensors) -> int:
    return len(next(iter(batch.values())))


def _predictions(timed: TimedServer, batches: Sequence[Tensors], name: str) -> Iterator[Tensors]:
    return (timed.server.predict(batch, signature_name=name) for batch in batches)


def _figures(size: int, timed: TimedServer, batches: Sequence[Tensors], name: str) -> ModelFigures:
    rows, started = 0, time.monotonic()
    while (seconds := time.monotonic() - started) < _MEASURED_SECONDS:
        for batch in batches:
            timed.server.predict(batch, signature_name=name)
            rows += _rows(batch)
    return ModelFigures(size=size, load_seconds=timed.load_seconds, rows_per_second=rows / seconds)


def _convert(job: JobContext, request: ConversionRequest, samples: Tensors) -> None:
    np.savez(request.samples, **samples)  # type: ignore[arg-type]  # names are those of inputs
    with job.phase("convert", f"converting to {request.precision}"):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "app.savedmodel.tflite_conversion", request.as_argument()],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=job.deadline.remaining(),
            )
        except subprocess.TimeoutExpired:
            job.deadline.remaining()
            raise
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise InvalidModel(
            "model: TensorFlow Lite's converter does not take it:"
            f" {without_own_paths(' '.join(lines[-_SHOWN_LINES:]))}"
        )


def _largest_difference(array: Array, other: Array) -> float:
    """Infinite where one is NaN or infinite, and the other is not the same."""
    one, two = array.astype(np.float64), other.astype(np.float64)
    is_same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        difference = np.where(is_same, 0.0, np.abs(one - two))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _differences(predictions: list[Tensors], others: list[Tensors]) -> dict[str, float]:
    differences: dict[str, float] = {}
    for one, other in zip(predictions, others, strict=True):
        for name, array in one.items():
            found = other[name]
            if array.shape != found.shape:
                raise InvalidModel(
                    f"model: output {name} has the shape {list(array.shape)}, and"
                    f" {list(found.shape)} once it is compressed"
                )
            if array.dtype.kind in "fiu":
                difference = _largest_difference(array, found)
            else:
                difference = np.mean(array != found) if array.size else 0.0
            differences[name] = max(differences.get(name, 0.0), float(difference))
    return differences
