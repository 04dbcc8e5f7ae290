"""Jobs that last, in a service: submitted, watched, listed, cancelled, delivered, taken over."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import requests

from app.jobs.record_json import now
from tests.fakes.buckets import Bucket
from tests.fakes.error_details import details_of
from tests.fakes.processes import RunningService, fake_gcs_server, gunicorn
from tests.fakes.waiting import until
from tests.faults.disturbances import answers
from tests.faults.storage_proxy import Rule, StorageProxy, storage_proxy

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
# So many calls of a model that a job takes as long as a test needs it.
MANY_ROWS = "[1, 2]\n" * 400_000


def state_of(job: dict[str, Any]) -> str:
    return str(job["state"]).removeprefix("JOB_STATE_")


class Jobs:
    """The jobs of one service, as a client sees them."""

    def __init__(self, service: RunningService, bucket: Bucket) -> None:
        self.service = service
        self.bucket = bucket

    def parameters(self, **changes: object) -> dict[str, object]:
        return {
            "model": f"{self.bucket.uri}/models/zoo/",
            "signature_name": "any_length",
            "input": f"{self.bucket.uri}/jobs-in/a.jsonl",
            "output": f"{self.bucket.uri}/jobs-out/",
            **changes,
        }

    def post(self, **changes: object) -> requests.Response:
        parameters = self.parameters(**changes)
        return requests.post(f"{self.service.url}/jobs", json=parameters, timeout=60)

    def submit(self, **changes: object) -> str:
        answer = self.post(**changes)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        assert answer.headers["Location"] == f"/jobs/{job_id}"
        return job_id

    def get(self, job_id: str) -> dict[str, Any]:
        answer = requests.get(f"{self.service.url}/jobs/{job_id}", timeout=30)
        assert answer.ok, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def listed(self, **parameters: object) -> dict[str, Any]:
        url = f"{self.service.url}/jobs"
        answer = requests.get(url, params={k: str(v) for k, v in parameters.items()}, timeout=30)
        assert answer.ok, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def ids(self, **parameters: object) -> list[str]:
        return [job["job_id"] for job in self.listed(**parameters)["jobs"]]

    def act(self, job_id: str, what: str) -> requests.Response:
        return requests.post(f"{self.service.url}/jobs/{job_id}:{what}", timeout=60)

    def delete(self, job_id: str) -> requests.Response:
        return requests.delete(f"{self.service.url}/jobs/{job_id}", timeout=30)

    def await_state(self, job_id: str, *states: str) -> dict[str, Any]:
        until(lambda: state_of(self.get(job_id)) in states)
        return self.get(job_id)

    def ended(self, job_id: str) -> dict[str, Any]:
        return self.await_state(job_id, *_ENDED)


@dataclass(frozen=True, slots=True)
class Start:
    """Starts services with records of their own."""

    environment: dict[str, str]

    def __call__(self, **settings: str) -> AbstractContextManager[RunningService]:
        return gunicorn({**self.environment, **settings})


@pytest.fixture(scope="module")
def place(bucket: Bucket) -> Bucket:
    bucket.put("jobs-in/a.jsonl", "[1, 2]\n[3]\n")
    bucket.put("jobs-in/long.jsonl", MANY_ROWS)
    return bucket


@pytest.fixture(scope="module")
def jobs(gcs_url: str, place: Bucket, temporary_folder: Path) -> Iterator[Jobs]:
    """A service whose records are in the bucket."""
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "JOBS_URI": f"{place.uri}/records/",
        "ALLOWED_URI_PREFIXES": place.uri,
    }
    with gunicorn(environment) as service:
        yield Jobs(service, place)


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The service of the module is started in its first test."""


@pytest.fixture
def start(gcs_url: str, place: Bucket, tmp_path: Path) -> Start:
    return Start(
        {
            "STORAGE_EMULATOR_HOST": gcs_url,
            "JOBS_URI": f"{place.uri}/{tmp_path.name}/",
            "LEASE_SECONDS": "4",
        }
    )


def test_a_job_is_accepted_at_once_and_reports_at_its_end(jobs: Jobs) -> None:
    answer = jobs.post()
    assert answer.status_code == 202
    assert state_of(answer.json()) == "QUEUED"
    job = jobs.ended(answer.json()["job_id"])
    assert state_of(job) == "SUCCEEDED"
    assert job["parameters"]["input"] == [f"{jobs.bucket.uri}/jobs-in/a.jsonl"]
    assert job["attempts"] == 1
    assert job["progress"]["files"] == job["progress"]["files_total"] == 1
    assert job["report"]["predictions"] == 2
    assert job["report"]["job_id"] == job["job_id"]
    assert "lease" not in job
    assert job["create_time"] <= job["start_time"] <= job["end_time"]
    assert jobs.bucket.get("jobs-out/a.jsonl").count(b"\n") == 2


def test_a_preference_makes_a_call_asynchronous(jobs: Jobs) -> None:
    headers = {"Prefer": "respond-async, wait=50"}
    answer = requests.post(jobs.service.url, json=jobs.parameters(), headers=headers, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "respond-async, wait=50"
    assert state_of(answer.json()) == "SUCCEEDED"
    headers = {"Prefer": "handling=lenient, Respond-Async;x=1"}
    answer = requests.post(jobs.service.url, json=jobs.parameters(), headers=headers, timeout=60)
    assert answer.status_code == 202
    assert state_of(jobs.ended(answer.json()["job_id"])) == "SUCCEEDED"
    # Without it, the call is the job.
    assert requests.post(jobs.service.url, json=jobs.parameters(), timeout=60).status_code == 200


def test_a_failed_job_has_its_error(jobs: Jobs) -> None:
    job = jobs.ended(jobs.submit(input=f"{jobs.bucket.uri}/absent/*"))
    assert state_of(job) == "FAILED"
    assert (job["error"]["code"], job["error"]["status"]) == (404, "NOT_FOUND")
    assert details_of(job["error"])["files"] == []
    assert job["attempts"] == 1


def test_the_same_id_with_the_same_parameters_is_the_same_job(jobs: Jobs) -> None:
    job_id = jobs.submit(job_id="nightly-1")
    assert job_id == "nightly-1"
    jobs.ended(job_id)
    answer = jobs.post(job_id="nightly-1", on_error="fail")
    assert (answer.status_code, state_of(answer.json())) == (200, "SUCCEEDED")
    answer = jobs.post(job_id="nightly-1", on_error="skip")
    assert answer.status_code == 409
    assert answer.json()["error"]["status"] == "ALREADY_EXISTS"
    assert jobs.ids().count("nightly-1") == 1


def test_many_submissions_of_one_id_are_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: jobs.post(job_id="at-once"), range(6)))
    assert {answer.json()["job_id"] for answer in answers} == {"at-once"}
    assert all(answer.ok for answer in answers)
    assert jobs.ended("at-once")["attempts"] == 1


@pytest.mark.parametrize("job_id", ["../a", "a/b", "", " ", ".hidden", "x" * 101, 7, ["a"]])
def test_other_ids_are_refused(job_id: object, jobs: Jobs) -> None:
    answer = jobs.post(job_id=job_id)
    if job_id == "":
        assert answer.status_code == 202  # as if it were not given
    else:
        assert answer.status_code == 400
        assert "job_id must be" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["..%2Frecords%2Fa", "%2e%2e", "absent", "a.json", "a%00b"])
def test_no_id_leads_elsewhere(path: str, jobs: Jobs) -> None:
    for answer in (
        requests.get(f"{jobs.service.url}/jobs/{path}", timeout=30),
        jobs.act(path, "cancel"),
        jobs.delete(path),
    ):
        assert answer.status_code in (404, 405)
    answer = jobs.act(path, "run")
    assert answer.status_code == 404 or answer.json()["state"] == "JOB_STATE_UNSPECIFIED"


def test_jobs_are_listed_newest_first_in_pages(jobs: Jobs) -> None:
    made = [jobs.submit(job_id=f"page-{number}") for number in range(5)]
    for job_id in made:
        jobs.ended(job_id)
    listed, token = [], ""
    for _ in range(100):
        page = jobs.listed(page_size=2, page_token=token)
        assert len(page["jobs"]) <= 2
        listed += [job["job_id"] for job in page["jobs"]]
        token = page["next_page_token"]
        if not token:
            break
    assert [one for one in listed if one in made] == made[::-1]
    assert len(set(listed)) == len(listed)
    assert set(made) <= set(jobs.ids(state="SUCCEEDED", page_size=1000))
    assert not set(made) & set(jobs.ids(state="job_state_failed"))
    assert not jobs.ids(model=f"{jobs.bucket.uri}/models/other/")
    assert set(made) <= set(jobs.ids(model=f"{jobs.bucket.uri}/models/zoo", page_size=1000))


@pytest.mark.parametrize(
    "query", ["state=DONE", "page_size=x", "page_size=-1", "page_token=x", "surprise=1"]
)
def test_a_listing_that_makes_no_sense_is_400(query: str, jobs: Jobs) -> None:
    answer = requests.get(f"{jobs.service.url}/jobs?{query}", timeout=30)
    assert answer.status_code == 400, answer.text


def test_a_running_job_is_cancelled(jobs: Jobs) -> None:
    """Its output does not appear, and the next job runs."""
    changes = {"input": f"{jobs.bucket.uri}/jobs-in/long.jsonl", "batch_size": 1}
    job_id = jobs.submit(output=f"{jobs.bucket.uri}/jobs-cancelled/", **changes)
    waiting = jobs.submit(**changes)
    jobs.await_state(job_id, "RUNNING")
    until(lambda: jobs.get(job_id)["progress"]["rows"] > 0)
    assert jobs.delete(job_id).status_code == 400
    assert state_of(jobs.act(waiting, "cancel").json()) == "CANCELLED"
    assert jobs.act(job_id, "cancel").ok
    job = jobs.ended(job_id)
    assert (state_of(job), job["error"]["status"]) == ("CANCELLED", "CANCELLED")
    assert jobs.bucket.names("jobs-cancelled/") == []
    assert state_of(jobs.act(job_id, "cancel").json()) == "CANCELLED"
    assert state_of(jobs.ended(jobs.submit())) == "SUCCEEDED"


def test_a_deleted_job_is_gone_and_its_outputs_stay(jobs: Jobs) -> None:
    job_id = jobs.submit(job_id="deleted", output=f"{jobs.bucket.uri}/jobs-kept/")
    jobs.ended(job_id)
    assert jobs.delete(job_id).json() == {}
    assert jobs.delete(job_id).status_code == 404
    assert job_id not in jobs.ids(page_size=1000)
    assert jobs.bucket.names("jobs-kept/") == ["jobs-kept/a.jsonl"]


def test_a_delivery_of_a_job_that_has_ended_is_200(jobs: Jobs) -> None:
    job_id = jobs.submit()
    jobs.ended(job_id)
    answer = jobs.act(job_id, "run")
    assert (answer.status_code, answer.json()["state"]) == (200, "JOB_STATE_SUCCEEDED")
    with_parameters = requests.post(
        f"{jobs.service.url}/jobs/{job_id}:run", json=jobs.parameters(), timeout=30
    )
    assert with_parameters.status_code == 400
    answer = jobs.act("absent", "run")
    assert (answer.status_code, answer.json()["state"]) == (200, "JOB_STATE_UNSPECIFIED")


def test_places_that_are_not_allowed_are_refused_at_once(jobs: Jobs) -> None:
    for changes in (
        {"model": "gs://other-bucket/m/"},
        {"input": "gs://other-bucket/i"},
        {"output": "gs://other-bucket/o/"},
        {"output": f"{jobs.bucket.uri}/records/"},
        {"input": f"{jobs.bucket.uri}/records/*"},
        {"model": "/etc/"},
    ):
        answer = jobs.post(**changes)
        assert answer.status_code == 403, (changes, answer.text)


def test_jobs_of_other_places_are_not_shown(jobs: Jobs, gcs_url: str) -> None:
    """Another instance shares the records, and may use other places."""
    job_id = jobs.submit()
    jobs.ended(job_id)
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "JOBS_URI": f"{jobs.bucket.uri}/records/",
        "ALLOWED_URI_PREFIXES": f"{jobs.bucket.uri}/elsewhere/",
    }
    with gunicorn(environment) as service:
        others = Jobs(service, jobs.bucket)
        assert others.ids() == []
        for answer in (
            requests.get(f"{service.url}/jobs/{job_id}", timeout=30),
            others.act(job_id, "cancel"),
            others.delete(job_id),
        ):
            assert answer.status_code == 403
    assert job_id in jobs.ids(page_size=1000)


def test_a_job_is_left_to_instances_that_may_run_it(start: Start, place: Bucket) -> None:
    with start(ALLOWED_URI_PREFIXES=f"{place.uri}/elsewhere/") as service:
        command = [sys.executable, "-m", "app.cli", "jobs", "submit", "--job-id", "others"]
        command += ["--model", f"{place.uri}/models/zoo/", "--signature-name", "any_length"]
        command += ["--input", f"{place.uri}/jobs-in/a.jsonl", "--output", f"{place.uri}/left/"]
        environment = {**os.environ, **start.environment}
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=60, check=True)
        # It runs what it may, and so has looked at the records by then.
        with start() as other:
            assert state_of(Jobs(other, place).ended("others")) == "SUCCEEDED"
        assert "is not below any" not in service.output()


def test_records_are_no_inputs(start: Start, place: Bucket, tmp_path: Path) -> None:
    """Though they are below an input's folder."""
    folder = f"cover-{tmp_path.name}"
    place.put(f"{folder}/a.jsonl", "[1, 2]\n")
    with start(JOBS_URI=f"{place.uri}/{folder}/records/") as service:
        jobs = Jobs(service, place)
        job = jobs.ended(jobs.submit(input=f"{place.uri}/{folder}/"))
    assert state_of(job) == "SUCCEEDED"
    assert [file["input"] for file in job["report"]["files"]] == [f"{place.uri}/{folder}/a.jsonl"]


def test_nesting_that_could_not_be_recorded_is_refused(jobs: Jobs) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    answer = jobs.post(constants={"x": deep})
    assert answer.status_code == 400
    assert "nested deeper" in answer.json()["error"]["message"]


def test_waiting_requests_that_are_given_up_make_room(jobs: Jobs) -> None:
    """And a preference is only said to be applied where it was."""
    changes = {"input": f"{jobs.bucket.uri}/jobs-in/long.jsonl", "batch_size": 1}
    long = jobs.submit(**changes)
    jobs.await_state(long, "RUNNING")
    for number in range(4):
        # The fourth one may be answered at once.
        with suppress(requests.ReadTimeout):
            requests.post(
                f"{jobs.service.url}/jobs",
                json=jobs.parameters(job_id=f"given-up-{number}"),
                headers={"Prefer": "wait=600"},
                timeout=0.5,
            )
    jobs.act(long, "cancel")

    def waits() -> bool:
        answer = requests.post(
            f"{jobs.service.url}/jobs",
            json=jobs.parameters(),
            headers={"Prefer": "wait=50"},
            timeout=60,
        )
        return answer.headers.get("Preference-Applied") == "wait=50"

    until(waits)


def test_without_settings_records_are_the_instances_own(
    gcs_url: str, place: Bucket, tmp_path: Path
) -> None:
    environment = {"STORAGE_EMULATOR_HOST": gcs_url, "TMPDIR": str(tmp_path), "JOBS_URI": ""}
    with gunicorn({**environment, "PRIVATE_FOLDERS": str(tmp_path)}) as service:
        jobs = Jobs(service, place)
        first, second = jobs.submit(), jobs.submit()
        assert state_of(jobs.ended(first)) == state_of(jobs.ended(second)) == "SUCCEEDED"
        assert jobs.ids() == [second, first]
        assert not [line for line in service.output().splitlines() if "a job left" in line]
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_a_dead_instance_are_taken_over(start: Start, place: Bucket) -> None:
    """With all that was queued and running there; complete outputs are made once."""
    changes = {"input": f"{place.uri}/jobs-in/long.jsonl", "batch_size": 1}
    with start() as service:
        jobs = Jobs(service, place)
        running = jobs.submit(**changes)
        queued = [jobs.submit() for _ in range(2)]
        jobs.await_state(running, "RUNNING")
        _kill(service)
    with start() as service:
        jobs = Jobs(service, place)
        until(lambda: jobs.get(running)["attempts"] == 2)
        jobs.act(running, "cancel")
        assert state_of(jobs.ended(running)) == "CANCELLED"
        assert [state_of(jobs.ended(job_id)) for job_id in queued] == ["SUCCEEDED"] * 2


def test_an_instance_that_ends_gives_its_job_back(
    start: Start, place: Bucket, tmp_path: Path
) -> None:
    changes = {"input": f"{place.uri}/jobs-in/long.jsonl", "batch_size": 1}
    with start() as service:
        jobs = Jobs(service, place)
        running = jobs.submit(**changes)
        until(lambda: jobs.get(running)["progress"]["rows"] > 0)
    record = _recorded(place, tmp_path.name, running)
    assert record["state"] == "JOB_STATE_QUEUED"
    assert "lease" not in record
    assert record["error"]["status"] == "UNAVAILABLE"
    assert record["run_seconds"] > 0


def test_a_job_that_ends_its_instances_fails(start: Start, place: Bucket) -> None:
    changes = {"input": f"{place.uri}/jobs-in/long.jsonl", "batch_size": 1}
    with start(MAX_ATTEMPTS="1") as service:
        jobs = Jobs(service, place)
        running = jobs.submit(**changes)
        jobs.await_state(running, "RUNNING")
        _kill(service)
    with start(MAX_ATTEMPTS="1") as service:
        job = Jobs(service, place).ended(running)
        assert state_of(job) == "FAILED"
        assert "was begun 1 times, and its instance was gone" in job["error"]["message"]


def test_a_job_that_waited_too_long_expires(start: Start, place: Bucket) -> None:
    changes = {"input": f"{place.uri}/jobs-in/long.jsonl", "batch_size": 1}
    with start(JOB_EXPIRY_SECONDS="3") as service:
        jobs = Jobs(service, place)
        first, second = jobs.submit(**changes), jobs.submit()
        jobs.await_state(first, "RUNNING")
        created = now()
        until(lambda: (now() - created).total_seconds() > 3)
        jobs.act(first, "cancel")
        assert state_of(jobs.ended(second)) == "EXPIRED"
        assert "JOB_EXPIRY_SECONDS" in jobs.get(second)["error"]["message"]


def test_a_job_takes_three_requests_beyond_its_own(models: Path) -> None:
    """The new record, the lease, and the end. A delivery to another instance reads it as well."""
    with fake_gcs_server() as url, storage_proxy(url) as proxy:
        bucket = Bucket(url, "requests")
        bucket.put_folder("models/zoo", models / "zoo")
        bucket.put("jobs-in/a.jsonl", "[1, 2]\n")
        environment = {
            "STORAGE_EMULATOR_HOST": proxy.url,
            "JOBS_URI": f"{bucket.uri}/records/",
        }
        with gunicorn(environment) as service:
            jobs = Jobs(service, bucket)
            job_id = jobs.submit()
            until(lambda: len(bucket.names("jobs-out/")) == 1)
            until(lambda: b"SUCCEEDED" in bucket.get(f"records/{job_id}.json"))
        on_records = [
            request.operation
            for request in proxy.requests
            if request.name.startswith(f"records/{job_id}")
        ]
        assert on_records == ["insert", "insert", "insert"]
        others = Counter(
            request.operation
            for request in proxy.requests
            if request.name.startswith(("models/", "jobs-"))
        )
    # What is there: the input, the model, the outputs. Four files of the model, and the input.
    assert others == {"find": 1, "list": 2, "read": 5, "insert": 1}


@pytest.fixture
def disturbed(models: Path) -> Iterator[tuple[Jobs, StorageProxy]]:
    """A service, and the proxy before its storage."""
    with fake_gcs_server() as url, storage_proxy(url) as proxy:
        bucket = Bucket(url, "disturbed")
        bucket.put_folder("models/zoo", models / "zoo")
        bucket.put("jobs-in/a.jsonl", "[1, 2]\n")
        environment = {"STORAGE_EMULATOR_HOST": proxy.url, "JOBS_URI": f"{bucket.uri}/records/"}
        with gunicorn(environment) as service:
            yield Jobs(service, bucket), proxy


def test_a_listing_that_fails_stops_no_job(disturbed: tuple[Jobs, StorageProxy]) -> None:
    jobs, proxy = disturbed
    refused = Rule(
        lambda request: request.operation == "list" and request.name == "records/", answers(403)
    )
    proxy.rules.append(refused)
    assert state_of(jobs.ended(jobs.submit())) == "SUCCEEDED"
    assert state_of(jobs.ended(jobs.submit())) == "SUCCEEDED"


def test_a_job_that_cannot_be_begun_leaves_room_for_others(
    disturbed: tuple[Jobs, StorageProxy],
) -> None:
    jobs, proxy = disturbed
    refused = Rule(
        lambda request: request.name == "records/stuck.json" and request.count > 0,
        answers(403),
    )
    proxy.rules.append(refused)
    jobs.submit(job_id="stuck", output=f"{jobs.bucket.uri}/stuck/")
    until(lambda: refused.hits > 0)
    until(lambda: requests.post(jobs.service.url, json=jobs.parameters(), timeout=60).ok)
    with proxy.lock:
        proxy.rules.clear()
    assert state_of(jobs.ended("stuck")) == "SUCCEEDED"


def test_a_delivery_while_another_instance_runs_the_job_is_409(start: Start, place: Bucket) -> None:
    changes = {"input": f"{place.uri}/jobs-in/long.jsonl", "batch_size": 1}
    with start() as one, start() as other:
        jobs = Jobs(one, place)
        running = jobs.submit(**changes)
        until(lambda: jobs.get(running)["progress"]["rows"] > 0)
        answer = Jobs(other, place).act(running, "run")
        if answer.status_code == 429:  # the other one runs it
            jobs, answer = Jobs(other, place), jobs.act(running, "run")
        assert answer.status_code == 409
        assert answer.json()["error"]["status"] == "ABORTED"
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        # Cancelled through the instance that does not run it.
        service = other if jobs.service is one else one
        assert state_of(Jobs(service, place).act(running, "cancel").json()) == "CANCELLING"
        assert state_of(jobs.ended(running)) == "CANCELLED"


def _kill(service: RunningService) -> None:
    """As the platform kills an instance: all of it at once."""
    master = psutil.Process(service.process.pid)
    for process in [master, *master.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    service.process.wait()


def _recorded(place: Bucket, folder: str, job_id: str) -> dict[str, Any]:
    """The record, past any service."""
    body: dict[str, Any] = orjson.loads(place.get(f"{folder}/{job_id}.json"))
    return body
