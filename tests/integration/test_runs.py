"""Runs of a service: POST /fan-out, and what GET /runs shows of them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from app.jobs.record_json import now
from app.jobs.store import JobStore
from app.night.frozen_manifest import FrozenManifest
from app.night.run_files import Reports
from app.night.run_night import Night
from app.night.survey import Readiness
from app.storage import Connections, TransferLimits, parse_location
from tests.app.night.night_values import surveyed
from tests.fakes.buckets import Bucket
from tests.fakes.cloud_tasks import FakeCloudTasks, Mischief, fake_cloud_tasks
from tests.fakes.processes import RunningService, gunicorn
from tests.fakes.waiting import until

QUEUE = "projects/p/locations/l/queues/q"
JOBS = 3
RUN = "models-2026-03-01"


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Each test starts and ends its own programs."""


@dataclass(frozen=True)
class Place:
    """Models, inputs, records and reports of one test, in a folder of the bucket."""

    bucket: Bucket
    folder: str

    @property
    def uri(self) -> str:
        return f"{self.bucket.uri}/{self.folder}"

    def body(self, **changes: Any) -> dict[str, Any]:
        return {
            "models": f"{self.uri}/models/*/",
            "input": f"{self.uri}/in/{{name}}/{{date}}/",
            "output": f"{self.uri}/out/{{name}}/",
            "signature_name": "any_length",
            "date": "2026-03-01",
            **changes,
        }

    def outputs(self) -> list[str]:
        return self.bucket.names(f"{self.folder}/out/")


@pytest.fixture
def place(bucket: Bucket, models: Path, request: pytest.FixtureRequest) -> Place:
    folder = re.sub(r"\W", "-", request.node.name)
    names = [*(f"m{number}" for number in range(JOBS)), "silent", "bad"]
    for name in names:
        bucket.put_folder(f"{folder}/models/{name}", models / "zoo")
        if name != "silent":
            text = "[1, 2]\n[3]\n" if name != "bad" else '["a"]\n'
            bucket.put(f"{folder}/in/{name}/2026-03-01/a.jsonl", text)
    return Place(bucket, folder)


def settings(gcs_url: str, place: Place, queue: FakeCloudTasks | None) -> dict[str, str]:
    of_queue = (
        {}
        if queue is None
        else {
            "QUEUE": QUEUE,
            "SERVICE_URL": "https://service.test",
            "CLOUD_TASKS_EMULATOR_HOST": queue.address,
        }
    )
    return {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "JOBS_URI": f"{place.uri}/jobs/",
        "REPORTS_URI": f"{place.uri}/reports/",
        **of_queue,
    }


@contextmanager
def running(
    gcs_url: str, place: Place, queue: FakeCloudTasks | None, **more: str
) -> Iterator[RunningService]:
    with gunicorn({**settings(gcs_url, place, queue), **more}) as service:
        if queue is not None:
            queue.front_end = lambda: service.url
        yield service


def report_of(service: RunningService) -> dict[str, Any]:
    body: dict[str, Any] = requests.get(f"{service.url}/runs/{RUN}", timeout=30).json()
    return body


def follow(service: RunningService) -> dict[str, Any]:
    answer = requests.post(f"{service.url}/runs/{RUN}:follow", timeout=30)
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.readme("many models by one command")
def test_a_scheduler_fans_out_twice_and_each_output_is_made_once(
    gcs_url: str, place: Place
) -> None:
    queue = FakeCloudTasks(front_end=lambda: "", mischief=Mischief(twice=0.3))
    with fake_cloud_tasks(queue), running(gcs_url, place, queue) as service:
        answers = [
            requests.post(f"{service.url}/fan-out", json=place.body(), timeout=60) for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].headers["Location"] == f"/runs/{RUN}"
        assert answers[0].json()["states"]["no input"] == 1
        until(lambda: report_of(service)["complete"])
        report = report_of(service)
        assert report["states"] == {
            "succeeded": JOBS,
            "reused": 0,
            "failed": 1,
            "missing model": 0,
            "no input": 1,
            "cancelled": 0,
            "running": 0,
            "never ran": 0,
        }
        assert report["failures"][0]["names"] == ["bad"]
        assert len(place.outputs()) == JOBS
        # Tasks of jobs, and one that follows the run: twice is once.
        jobs = [task for task in queue.created if ":run" in task.http_request.url]
        assert len(jobs) == JOBS + 1
        (later,) = {task.http_request.url for task in queue.created if task not in jobs}
        assert later == f"https://service.test/runs/{RUN}:follow"

        # Its end is told once, whoever asks again.
        assert follow(service)["complete"]
        assert follow(service)["complete"]
        assert service.output().count(f"run {RUN} has ended") == 1
        (listed,) = requests.get(f"{service.url}/runs", timeout=30).json()["runs"]
        assert (listed["run"], listed["complete"], listed["success"]) == (RUN, True, False)
        page = requests.get(
            f"{service.url}/runs/{RUN}", headers={"Accept": "text/html"}, timeout=30
        )
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "1 of 5 jobs are not done: 1 failed; 1 had no input" in page.text


def test_a_service_without_a_queue_runs_them_itself(gcs_url: str, place: Place) -> None:
    with running(gcs_url, place, None) as service:
        answer = requests.post(f"{service.url}/fan-out", json=place.body(only=["m1"]), timeout=60)
        assert answer.status_code == 202
        until(lambda: report_of(service)["states"]["succeeded"] == 1)
        assert report_of(service)["states"]["never ran"] == JOBS


def test_the_command_follows_the_jobs_of_a_queue(gcs_url: str, place: Place) -> None:
    queue = FakeCloudTasks(front_end=lambda: "")
    with fake_cloud_tasks(queue), running(gcs_url, place, queue):
        body = place.body()
        argv = [sys.executable, "-m", "app.cli", "fan-out", "--on", "queue", "--wait"]
        for name, value in body.items():
            argv += [f"--{name.replace('_', '-')}", value]
        environment = {**os.environ, **settings(gcs_url, place, queue)}
        ran = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert ran.returncode == 1, ran.stderr
        assert "bad: failed: INVALID_INSTANCE" in ran.stderr
        assert len(place.outputs()) == JOBS
        estimate = subprocess.run(
            [*argv, "--dry-run", "--run", "other-2026-03-02"],
            env={**environment, "MAX_INSTANCES": "7"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert estimate.returncode == 2
        assert "delivers 32 jobs at once, and 7 instances" in estimate.stderr


def test_a_storm_is_refused(gcs_url: str, place: Place) -> None:
    queue = FakeCloudTasks(front_end=lambda: "", is_paused=True)
    with fake_cloud_tasks(queue), running(gcs_url, place, queue, MAX_INSTANCES="31") as service:
        answer = requests.post(f"{service.url}/fan-out", json=place.body(), timeout=60)
        assert answer.status_code == 400
        assert "31 instances (MAX_INSTANCES)" in answer.json()["error"]["message"]
        assert queue.created == []
        assert place.bucket.names(f"{place.folder}/reports/") == []


def test_what_is_wrong_is_told(gcs_url: str, place: Place) -> None:
    queue = FakeCloudTasks(front_end=lambda: "", is_paused=True)
    with fake_cloud_tasks(queue), running(gcs_url, place, queue) as service:

        def post(**changes: Any) -> str:
            answer = requests.post(f"{service.url}/fan-out", json=place.body(**changes), timeout=60)
            assert answer.status_code in (400, 403, 404, 409), answer.text
            return str(answer.json()["error"]["message"])

        assert "unknown parameter 'x'" in post(x=1)
        assert "there are no folders" in post(models=f"{place.uri}/none/*/")
        # The service's own records.
        assert "belongs to the service's own files" in post(output=f"{place.uri}/jobs/{{name}}/")
        assert "own files" in post(output=f"{place.uri}/reports/{{name}}/")
        assert "LOCAL_ROOTS" in post(output="/etc/{name}/")
        same = f"{place.uri}/out/"
        assert "would both write" in post(output=same)
        assert requests.get(f"{service.url}/runs/{RUN}", timeout=30).status_code == 404
        assert requests.get(f"{service.url}/runs/a.b", timeout=30).status_code == 400
        # A queue would deliver it for ever.
        assert requests.post(f"{service.url}/runs/{RUN}:follow", timeout=30).status_code == 200
        requests.post(f"{service.url}/fan-out", json=place.body(), timeout=60).raise_for_status()
        assert "another plan (parameters differ)" in post(batch_size=7)
    with gunicorn({"STORAGE_EMULATOR_HOST": gcs_url}) as service:
        answer = requests.get(f"{service.url}/runs", timeout=30)
        assert answer.status_code == 400
        assert "REPORTS_URI is not set" in answer.text


def test_an_input_that_comes_late_is_waited_for(gcs_url: str, place: Place) -> None:
    """It was not there when the manifest was frozen."""
    queue = FakeCloudTasks(front_end=lambda: "")
    with fake_cloud_tasks(queue), running(gcs_url, place, queue) as service:
        url = f"{service.url}/fan-out"
        requests.post(url, json=place.body(), timeout=60).raise_for_status()
        until(lambda: report_of(service)["complete"])
        queue.is_paused = True
        place.bucket.put(f"{place.folder}/in/silent/2026-03-01/a.jsonl", "[1]\n")
        requests.post(url, json=place.body(only=["silent"]), timeout=60).raise_for_status()
        report = follow(service)
        assert (report["states"]["never ran"], report["complete"]) == (1, False)
        queue.is_paused = False
        until(lambda: report_of(service)["states"]["no input"] == 0)
        until(lambda: report_of(service)["states"]["succeeded"] == JOBS + 1)


def test_a_run_of_the_command_goes_on_in_the_service(gcs_url: str, place: Place) -> None:
    """And not where its records are elsewhere."""
    queue = FakeCloudTasks(front_end=lambda: "", is_paused=True)
    with fake_cloud_tasks(queue), running(gcs_url, place, queue) as service:
        argv = [sys.executable, "-m", "app.cli", "fan-out"]
        for name, value in place.body().items():
            argv += [f"--{name.replace('_', '-')}", value]
        environment = {**os.environ, **settings(gcs_url, place, queue)}
        for options in (["--run", "here", "--limit", "1"], ["--on", "queue"]):
            ran = subprocess.run(
                [*argv, *options], env=environment, capture_output=True, check=False, timeout=100
            )
            assert ran.returncode in (0, 1), ran.stderr
        # The command does not wait, so the service follows the run.
        assert any(f"/runs/{RUN}:follow" in one.http_request.url for one in queue.created)
        url = f"{service.url}/fan-out"
        assert requests.post(url, json=place.body(), timeout=60).status_code == 202
        answer = requests.post(url, json=place.body(run="here"), timeout=60)
        assert answer.status_code == 400
        assert "run here was begun elsewhere" in answer.json()["error"]["message"]


def test_bad_reports_hide_no_others(gcs_url: str, place: Place) -> None:
    for run in ("bad", "worse"):
        content = "{}" if run == "bad" else "no json"
        place.bucket.put(f"{place.folder}/reports/{run}/summary.json", content)
        place.bucket.put(f"{place.folder}/reports/{run}/report.json", content)
    good = '{"run": "good", "created": "2026-03-01T00:00:00Z", "complete": true}'
    place.bucket.put(f"{place.folder}/reports/good/summary.json", good)
    with running(gcs_url, place, None) as service:
        listed = requests.get(f"{service.url}/runs", timeout=30).json()["runs"]
        assert [one["run"] for one in listed] == ["good"]
        for run in ("bad", "worse"):
            answer = requests.get(f"{service.url}/runs/{run}", timeout=30)
            assert answer.status_code == 400
            assert "is not what a run has written" in answer.text


def test_a_job_that_the_queue_has_given_up_never_ran(gcs_url: str, place: Place) -> None:
    """It is not waited for, and the run ends."""
    os.environ["STORAGE_EMULATOR_HOST"] = gcs_url
    created = now() - timedelta(hours=1)
    reports = Reports(
        parse_location(f"{place.uri}/reports/", parameter="r"), Connections(None), TransferLimits()
    )
    records = parse_location(f"{place.uri}/jobs/", parameter="JOBS_URI")
    manifest = FrozenManifest(
        run=RUN,
        token="t",
        created=created,
        plan={},
        records=records,
        jobs=(surveyed("lost"), surveyed("silent", Readiness.NO_INPUT, message="why")),
    )
    night = Night(reports.run(RUN).freeze(manifest), reports, reports.store(records))
    draft = night.draft(manifest.jobs[0])
    JobStore(records, Connections(None), TransferLimits()).create(
        replace(draft, create_time=created, update_time=created)
    )
    del os.environ["STORAGE_EMULATOR_HOST"]
    queue = FakeCloudTasks(front_end=lambda: "", is_paused=True)
    with fake_cloud_tasks(queue), running(gcs_url, place, queue) as service:
        assert not report_of(service)["complete"]
        summary = follow(service)
        assert summary["complete"]
        assert (summary["states"]["never ran"], summary["states"]["no input"]) == (1, 1)
        assert "not done: 1 never ran" in service.output()
