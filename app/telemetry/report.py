"""Reports of jobs: counts, and seconds by phase."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

_TOO_LONG_FOR_A_RECORD = ("files", "server_output", "inspect")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One input file and its output; sizes in bytes.

    `errors` counts the rows in `errors_output`, which is None if there are none. A REUSED output
    was made by an earlier call with the same model, input and parameters.
    """

    state: Literal["PREDICTED", "REUSED"] = "PREDICTED"
    input: str
    output: str
    errors_output: str | None
    instances: int
    predictions: int
    errors: int
    input_bytes: int
    output_bytes: int

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The report of a complete job. `seconds` are by phase, with `total`.

    `files_left_out` counts hidden files and placeholders below the inputs. `storage_requests` are
    counted by kind, and empty where all files are local.
    """

    job_id: str
    model: str
    model_version: str
    signature_name: str
    inputs: tuple[str, ...]
    output: str
    files: tuple[FileReport, ...]
    files_left_out: int
    seconds: dict[str, float]
    storage_requests: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The body of a 200 response."""
        return {
            "state": "SUCCEEDED",
            "job_id": self.job_id,
            "model": self.model,
            "model_version": self.model_version,
            "signature_name": self.signature_name,
            "inputs": list(self.inputs),
            "output": self.output,
            **_counts(self.files),
            "files_left_out": self.files_left_out,
            "seconds": _rounded(self.seconds),
            "storage_requests": self.storage_requests,
        }


class FilesDone:
    """The complete files of a running job."""

    def __init__(self) -> None:
        self._reports: dict[str, FileReport] = {}
        self._expected = self._left_out = 0
        # Set once they are known.
        self.model_version: str | None = None
        self.signature_name: str | None = None

    def expect(self, files: int, *, left_out: int) -> None:
        self._expected, self._left_out = files, left_out

    def add(self, report: FileReport) -> None:
        self._reports[report.input] = report

    def counts(self) -> dict[str, int]:
        """The number of complete files, and of all."""
        return {"done": len(self._reports), "total": self._expected}

    def reports(self) -> tuple[FileReport, ...]:
        """The reports in order of the inputs' names."""
        return tuple(report for _, report in sorted(self._reports.items()))

    def so_far(
        self, job_id: str, seconds: dict[str, float], storage_requests: dict[str, int]
    ) -> dict[str, Any]:
        """The report so far, for the details of an error."""
        return {
            "job_id": job_id,
            **_counts(self.reports()),
            "files_missing": self._expected - len(self._reports),
            "files_left_out": self._left_out,
            "seconds": _rounded(seconds),
            "storage_requests": storage_requests,
        }


def log_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The report, or an error's details, with counts of its files: for a log record."""
    fields = {name: value for name, value in body.items() if name not in _TOO_LONG_FOR_A_RECORD}
    files = body.get("files", ())
    reused = sum(file.get("state") == "REUSED" for file in files)
    return fields | {"files": len(files), "files_reused": reused}


def _counts(files: Sequence[FileReport]) -> dict[str, Any]:
    return {
        "instances": sum(file.instances for file in files),
        "predictions": sum(file.predictions for file in files),
        "errors": sum(file.errors for file in files),
        "files": [file.as_json() for file in files],
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {phase: round(value, 3) for phase, value in seconds.items()}


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

    def note(self, name: str, seconds: float) -> None:
        """Record what was measured elsewhere."""
        self._seconds[name] = seconds

    def seconds(self) -> dict[str, float]:
        """The seconds of all phases so far, and `total`."""
        return {**self._seconds, "total": time.monotonic() - self._started}
