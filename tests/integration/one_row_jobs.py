"""Jobs of one row, for tests of what happens before the first row."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService

Start = Callable[..., AbstractContextManager[RunningService]]


class Jobs:
    """Jobs of one row, each with an output of its own."""

    def __init__(self, bucket: Bucket, service: RunningService, folder: str) -> None:
        self._bucket, self._service, self._folder = bucket, service, folder
        self._number = 0
        bucket.put(f"{folder}/in.jsonl", "[1,2,3,4]\n")

    def run(self, model: str | None, **changes: object) -> dict[str, Any]:
        """The report of a successful job; `prediction` is in it, too."""
        answer = self.call(model, **changes)
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        output = report["files"][0]["output"].removeprefix(f"{self._bucket.uri}/")
        return {**report, "prediction": self._bucket.get(output).decode().strip()}

    def call(self, model: str | None, **changes: object) -> requests.Response:
        self._number += 1
        parameters = {
            **({} if model is None else {"model": model}),
            "input": f"{self._bucket.uri}/{self._folder}/in.jsonl",
            "output": f"{self._bucket.uri}/{self._folder}/out-{self._number}/",
            **changes,
        }
        return requests.post(self._service.url, json=parameters, timeout=50)


# Versions of `linear`: they answer nine and ten times the row.
FIRST, SECOND = "9", "10"


def copy(bucket: Bucket, models: Path, name: str, version: str = FIRST) -> str:
    """A model of one's own in the bucket: `linear`, in that version."""
    bucket.put_folder(f"{name}/{version}", models / "linear" / version)
    return f"{bucket.uri}/{name}/"


def was_kept(report: dict[str, Any]) -> bool:
    return "server_start" not in report["seconds"]
