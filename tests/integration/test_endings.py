"""However the worker ends, the caller of its job is told with 503."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import NOT_FORKED, RunningService, gunicorn
from tests.fakes.waiting import until
from tests.integration.test_service import error, model_servers, slow_parameters

# That the signals to the process above do the same is in test_service.py.
End = Callable[[RunningService], None]


def worker_of(service: RunningService) -> psutil.Process:
    (worker,) = psutil.Process(service.process.pid).children()
    return worker


def to_worker(number: signal.Signals) -> End:
    return lambda service: worker_of(service).send_signal(number)


def to_all(number: signal.Signals) -> End:
    """As a terminal or a container's runtime may send it: to the model server as well."""

    def send(service: RunningService) -> None:
        for process in psutil.Process(service.process.pid).children(recursive=True):
            process.send_signal(number)
        service.process.send_signal(number)

    return send


@pytest.fixture
def environment(gcs_url: str, temporary_folder: Path) -> dict[str, str]:
    return {
        **NOT_FORKED,
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
    }


ENDINGS: dict[str, End] = {
    "worker-abort": to_worker(signal.SIGABRT),
    "worker-hup": to_worker(signal.SIGHUP),
    "all-term": to_all(signal.SIGTERM),
    "all-hup": to_all(signal.SIGHUP),
    "master-killed": lambda service: service.process.kill(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_worker_that_ends_answers_its_jobs_caller_503(
    ending: str, environment: dict[str, str], bucket: Bucket
) -> None:
    with gunicorn(environment) as service, ThreadPoolExecutor(1) as pool:
        job = pool.submit(requests.get, service.url, params=slow_parameters(bucket), timeout=50)
        until(lambda: bool(model_servers(service)))
        until(lambda: "predicting" in service.output())
        worker = worker_of(service)
        ENDINGS[ending](service)
        assert "shutting down" in error(job.result(), 503, "UNAVAILABLE")["message"]
        assert psutil.wait_procs([worker], timeout=15)[1] == []


@pytest.fixture
def stuck(
    environment: dict[str, str], tmp_path: Path
) -> Iterator[tuple[RunningService, Callable[[], requests.Response]]]:
    """A service with a request under way that heeds nothing, and what gives its answer."""
    with (
        gunicorn(environment, "tests.fakes.waiting_service:app") as service,
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"{service.url}/wait?for={tmp_path / 'never'}"
        answer = pool.submit(requests.get, url, timeout=50)
        until((tmp_path / "waiting").exists)
        yield service, answer.result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_stuck_job_is_503_before_worker_is_killed(
    number: signal.Signals,
    stuck: tuple[RunningService, Callable[[], requests.Response]],
) -> None:
    """A job that heeds nothing is answered 503 before its worker is killed."""
    service, answer = stuck
    service.process.send_signal(number)
    assert "shutting down" in error(answer(), 503, "UNAVAILABLE")["message"]
