"""Jobs that Cloud Tasks delivers, as its service and its documentation have it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from app.settings import Settings, SettingsError
from tests.fakes.buckets import Bucket
from tests.fakes.cloud_tasks import FakeCloudTasks, Mischief, fake_cloud_tasks
from tests.fakes.processes import gunicorn
from tests.fakes.waiting import until
from tests.integration.test_jobs import MANY_ROWS, Jobs, state_of

QUEUE = "projects/p/locations/l/queues/q"
ACCOUNT = "robot@p.iam.gserviceaccount.com"


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Each test starts and ends its own programs."""


@contextmanager
def running(
    gcs_url: str, place: Bucket, folder: Path, queue: FakeCloudTasks, **settings: str
) -> Iterator[Jobs]:
    """A service behind a queue."""
    with fake_cloud_tasks(queue):
        environment = {
            "STORAGE_EMULATOR_HOST": gcs_url,
            "JOBS_URI": f"{place.uri}/{folder.name}/",
            "QUEUE": QUEUE,
            "SERVICE_URL": "https://service.test/",
            "SERVICE_ACCOUNT": ACCOUNT,
            "CLOUD_TASKS_EMULATOR_HOST": queue.address,
            **settings,
        }
        with gunicorn(environment) as service:
            url = service.url
            queue.front_end = lambda: url
            yield Jobs(service, place)


@pytest.fixture
def place(bucket: Bucket) -> Bucket:
    bucket.put("jobs-in/a.jsonl", "[1, 2]\n[3]\n")
    return bucket


def unreachable() -> str:
    return "http://127.0.0.1:1"


@pytest.fixture
def closed() -> FakeCloudTasks:
    """A queue that delivers nothing."""
    return FakeCloudTasks(front_end=unreachable, is_paused=True)


def test_a_job_is_a_task_that_posts_its_id(gcs_url: str, place: Bucket, tmp_path: Path) -> None:
    queue = FakeCloudTasks(front_end=unreachable)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        job = jobs.ended(jobs.submit(job_id="nightly"))
        until(queue.is_idle)
        assert (state_of(job), job["attempts"]) == ("SUCCEEDED", 1)
        (task,) = queue.created
        parent, _, name = task.name.rpartition("/tasks/")
        assert parent == QUEUE
        # A name that begins with a hash: names in sequence slow a queue.
        assert name.endswith("-nightly")
        assert len(name.partition("-")[0]) == 12
        request = task.http_request
        assert request.url == "https://service.test/jobs/nightly:run"
        assert not request.body
        assert request.oidc_token.service_account_email == ACCOUNT
        assert request.oidc_token.audience == "https://service.test"
        deadline: Any = task.dispatch_deadline
        assert deadline.total_seconds() == 1800


def test_a_failed_job_is_delivered_once(gcs_url: str, place: Bucket, tmp_path: Path) -> None:
    queue = FakeCloudTasks(front_end=unreachable)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        job = jobs.ended(jobs.submit(input=f"{place.uri}/absent/*"))
        assert state_of(job) == "FAILED"
        until(queue.is_idle)
        assert [status for _, status in queue.deliveries] == [200]


def test_passing_failures_are_delivered_until_attempts_run_out(
    gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    """The model server dies each time: 503, and in the end 200 with a record that says so."""
    queue = FakeCloudTasks(front_end=unreachable)
    settings = {
        "MAX_ATTEMPTS": "3",
        "SERVER_RESTARTS": "0",
        "TENSORFLOW_MODEL_SERVER": "python3 -c 'import sys; sys.exit(\"--model_base_path\")'",
    }
    with running(gcs_url, place, tmp_path, queue, **settings) as jobs:
        job = jobs.ended(jobs.submit())
        until(queue.is_idle)
    assert state_of(job) == "FAILED"
    assert job["attempts"] == 3
    assert [status for _, status in queue.deliveries] == [503, 503, 200]


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        None,
    ],
    ids=str,
)
def test_a_queue_that_fails_once_is_asked_again(
    code: grpc.StatusCode | None, gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    queue = FakeCloudTasks(front_end=unreachable)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        queue.refuse(code)
        assert state_of(jobs.ended(jobs.submit())) == "SUCCEEDED"
        assert len(queue.created) == 1


def test_a_job_that_the_queue_refuses_is_not_recorded(
    gcs_url: str, place: Bucket, tmp_path: Path, closed: FakeCloudTasks
) -> None:
    with running(gcs_url, place, tmp_path, closed) as jobs:
        closed.refuse(grpc.StatusCode.PERMISSION_DENIED)
        answer = jobs.post()
        assert (answer.status_code, answer.headers["Retry-After"]) == (502, "5")
        assert answer.json()["error"]["status"] == "UNAVAILABLE"
        assert jobs.ids() == []


def test_a_named_job_that_the_queue_refuses_goes_on_when_it_is_submitted_again(
    gcs_url: str, place: Bucket, tmp_path: Path, closed: FakeCloudTasks
) -> None:
    """Another caller may have submitted it as well."""
    with running(gcs_url, place, tmp_path, closed) as jobs:
        closed.refuse(grpc.StatusCode.PERMISSION_DENIED)
        assert jobs.post(job_id="refused").status_code == 502
        assert state_of(jobs.get("refused")) == "QUEUED"
        assert jobs.post(job_id="refused").status_code == 202
        assert len(closed.created) == 1


def test_an_account_that_may_only_create_tasks_suffices(
    gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    queue = FakeCloudTasks(front_end=unreachable, denied={"GetTask", "DeleteTask"}, is_paused=True)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        for _ in range(2):
            assert jobs.post(job_id="again").status_code == 202
        assert len(queue.created) == 1
        assert state_of(jobs.act("again", "cancel").json()) == "CANCELLED"
        assert jobs.delete("again").ok
        queue.is_paused = False
        until(queue.is_idle)
        # The task of a deleted job is not delivered for ever.
        assert [status for _, status in queue.deliveries] == [200]


def test_the_same_submission_again_is_no_second_task(
    gcs_url: str, place: Bucket, tmp_path: Path, closed: FakeCloudTasks
) -> None:
    with running(gcs_url, place, tmp_path, closed) as jobs:
        for _ in range(3):
            assert jobs.post(job_id="again").status_code == 202
        assert len(closed.created) == 1


def test_a_job_that_the_queue_has_given_up_gets_another_task(
    gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    """Its name stays taken, as in Cloud Tasks."""
    queue = FakeCloudTasks(front_end=unreachable, max_attempts=2)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        alive, queue.front_end = queue.front_end, unreachable
        job_id = jobs.submit(job_id="given-up")
        until(lambda: len(queue.given_up) == 1)
        assert state_of(jobs.get(job_id)) == "QUEUED"
        queue.front_end = alive
        assert jobs.post(job_id="given-up").status_code == 202
        assert state_of(jobs.ended(job_id)) == "SUCCEEDED"
        assert len({task.name for task in queue.created}) == len(queue.created) == 2


def test_a_cancelled_job_leaves_the_queue(
    gcs_url: str, place: Bucket, tmp_path: Path, closed: FakeCloudTasks
) -> None:
    with running(gcs_url, place, tmp_path, closed) as jobs:
        job_id = jobs.submit(job_id="cancelled")
        assert state_of(jobs.act(job_id, "cancel").json()) == "CANCELLED"
        assert closed.is_idle()
        assert jobs.delete(job_id).ok
        # A new job of that name is another task.
        assert jobs.post(job_id="cancelled").status_code == 202
        assert len(closed.created) == 2


def test_two_deliveries_at_once_are_one_run(gcs_url: str, place: Bucket, tmp_path: Path) -> None:
    queue = FakeCloudTasks(front_end=unreachable, mischief=Mischief(twice=1.0, again=0.5))
    with running(gcs_url, place, tmp_path, queue) as jobs:
        made = [jobs.submit(job_id=f"twice-{number}", force=True) for number in range(4)]
        for job_id in made:
            assert jobs.ended(job_id)["attempts"] == 1
        until(queue.is_idle)
        assert len(queue.deliveries) >= 8
        assert {status for _, status in queue.deliveries} <= {200, 409, 429}


def test_settings_that_do_not_fit_are_told() -> None:
    for settings, words in (
        ({"QUEUE": "q"}, "QUEUE must be projects/P/locations/L/queues/Q"),
        ({"QUEUE": QUEUE}, "SERVICE_URL must be"),
        ({"QUEUE": QUEUE, "SERVICE_URL": "https://s"}, "JOBS_URI must be set"),
        ({"DISPATCH_DEADLINE_SECONDS": "3600"}, "15 to 1800"),
        ({"JOBS_URI": "s3://b/"}, "JOBS_URI: expected a gs:// URI or a local path"),
    ):
        with pytest.raises(SettingsError, match=words):
            Settings.from_environ(settings)


def test_a_health_check_is_answered_while_a_delivery_runs(
    gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    place.put("jobs-in/long.jsonl", MANY_ROWS)
    queue = FakeCloudTasks(front_end=unreachable)
    with running(gcs_url, place, tmp_path, queue) as jobs:
        job_id = jobs.submit(input=f"{place.uri}/jobs-in/long.jsonl", batch_size=1)
        jobs.await_state(job_id, "RUNNING")
        assert requests.get(f"{jobs.service.url}/health", timeout=5).json()["busy"] is True
        threads = [threading.Thread(target=jobs.act, args=(job_id, "run")) for _ in range(3)]
        for thread in threads:
            thread.start()
        jobs.act(job_id, "cancel")
        assert state_of(jobs.ended(job_id)) == "CANCELLED"
        for thread in threads:
            thread.join()
