"""What tests of jobs over HTTP share."""

from collections.abc import Callable

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService

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
