"""What tests of jobs over HTTP share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn
from tests.integration.one_row_jobs import Start

FormatsCall = Callable[..., requests.Response]


@pytest.fixture
def formats(service: RunningService, bucket: Bucket) -> FormatsCall:
    """A job with the model that takes every format; places are below the bucket."""

    def post(source: str | list[str], target: str, **changes: object) -> requests.Response:
        sources = [source] if isinstance(source, str) else source
        parameters = {
            "model": f"{bucket.uri}/models/formats/",
            "input": [f"{bucket.uri}/{one}" for one in sources],
            "output": f"{bucket.uri}/{target}",
            **changes,
        }
        return requests.post(service.url, json=parameters, timeout=50)

    return post


@pytest.fixture
def start(gcs_url: str, temporary_folder: Path, local_root: Path) -> Start:
    """Starts a service of one's own, with settings of one's own."""

    @contextmanager
    def start_with(**settings: str) -> Iterator[RunningService]:
        environment = {
            "STORAGE_EMULATOR_HOST": gcs_url,
            "TMPDIR": str(temporary_folder),
            "LOCAL_ROOTS": str(local_root),
            **settings,
        }
        with gunicorn(environment) as service:
            yield service

    return start_with
