"""What a job did, in counts and seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileReport:
    """One input file and its output; sizes in bytes."""

    input: str
    output: str
    instances: int
    predictions: int
    errors: int
    input_bytes: int
    output_bytes: int

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A job that is complete. `seconds` are by phase, `total` included."""

    job_id: str
    model: str
    model_version: str
    signature_name: str
    input: str
    output: str
    files: tuple[FileReport, ...]
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The body of a 200 answer."""
        return {
            "state": "SUCCEEDED",
            "job_id": self.job_id,
            "model": self.model,
            "model_version": self.model_version,
            "signature_name": self.signature_name,
            "inputs": [self.input],
            "output": self.output,
            "instances": sum(file.instances for file in self.files),
            "predictions": sum(file.predictions for file in self.files),
            "errors": sum(file.errors for file in self.files),
            "files": [file.as_json() for file in self.files],
            "seconds": {phase: round(seconds, 3) for phase, seconds in self.seconds.items()},
        }


class Stopwatch:
    """Seconds by phase, on the monotonic clock."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - started

    def seconds(self) -> dict[str, float]:
        """All phases so far, and `total`."""
        return {**self._seconds, "total": time.monotonic() - self._started}
