"""`embedded-tf jobs`: against a service, and straight on the records."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The service of the module is started in its first test."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def service(
    gcs_url: str, bucket: Bucket, records: Path, temporary_folder: Path
) -> Iterator[RunningService]:
    bucket.put("command-in/a.jsonl", "[1, 2]\n[3]\n")
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "JOBS_URI": str(records),
    }
    with gunicorn(environment) as running:
        yield running


class Command:
    def __init__(self, place: list[str], environment: dict[str, str]) -> None:
        self.place = place
        self.environment = environment

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "app.cli", "jobs", *arguments, *self.place]
        return subprocess.run(
            argv, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def json(self, *arguments: str) -> Any:
        ran = self(*arguments)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        ran = self(*arguments)
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture(params=["service", "records"])
def command(
    request: pytest.FixtureRequest, service: RunningService, gcs_url: str, records: Path
) -> Command:
    """Both ways to the same jobs; the service runs them."""
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": gcs_url}
    if request.param == "service":
        return Command(["--service", service.url], environment)
    return Command([], {**environment, "JOBS_URI": str(records)})


def parameters(bucket: Bucket, **changes: str) -> list[str]:
    options = {
        "model": f"{bucket.uri}/models/zoo/",
        "signature-name": "any_length",
        "input": f"{bucket.uri}/command-in/a.jsonl",
        "output": f"{bucket.uri}/command-out/",
        **changes,
    }
    return [f"--{name}={value}" for name, value in options.items()]


def test_the_life_of_a_job(command: Command, bucket: Bucket, request: Any) -> None:
    job_id = f"life-{request.node.callspec.id}"
    job = command.json("submit", *parameters(bucket), "--job-id", job_id)
    assert (job["job_id"], job["state"]) == (job_id, "JOB_STATE_QUEUED")
    job = command.json("wait", job_id)
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["report"]["predictions"] == 2
    assert command.json("get", job_id) == job
    (listed,) = [one for one in command.lines("list") if one["job_id"] == job_id]
    assert listed["report"]["files"] == 1
    assert job_id in [one["job_id"] for one in command.lines("list", "--state", "succeeded")]
    assert len(command.lines("list", "--limit", "1")) == 1
    assert command.lines("list", "--model", f"{bucket.uri}/models/other/") == []
    assert command.json("cancel", job_id)["state"] == "JOB_STATE_SUCCEEDED"
    assert command("delete", job_id).returncode == 0
    gone = command("get", job_id)
    assert gone.returncode == 1
    assert f"there is no job {job_id}" in gone.stderr
    assert json.loads(gone.stdout)["error"]["status"] == "NOT_FOUND"


def test_a_failed_job_is_the_exit_status(command: Command, bucket: Bucket) -> None:
    ran = command("submit", "--wait", *parameters(bucket, input=f"{bucket.uri}/absent/*"))
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["status"] == "NOT_FOUND"


def test_wrong_usage_is_2(command: Command, bucket: Bucket) -> None:
    for arguments in (
        ("submit", *parameters(bucket), "--job-id", "a/b"),
        ("submit", *parameters(bucket), "more"),
        ("list", "--state", "odd"),
        ("wait",),
    ):
        assert command(*arguments).returncode == 2, arguments


def test_without_a_place_the_usage_says_so(gcs_url: str) -> None:
    del gcs_url
    ran = Command([], {**os.environ, "JOBS_URI": ""})("list")
    assert ran.returncode == 2
    assert "--service, or --jobs-uri, or set JOBS_URI" in ran.stderr


def test_a_service_that_is_not_there_is_told() -> None:
    ran = Command(["--service", "http://127.0.0.1:1"], dict(os.environ))("list")
    assert ran.returncode == 75
    assert "http://127.0.0.1:1 does not answer" in ran.stderr


def test_a_wait_outlasts_passing_failures() -> None:
    """An instance that is replaced answers 503 for a moment."""
    states = ["QUEUED", None, None, "SUCCEEDED"]

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # a name of http.server
            state = states.pop(0)
            error = {"code": 503, "status": "UNAVAILABLE", "message": "ends", "details": []}
            body = {"error": error} if state is None else {"state": f"JOB_STATE_{state}"}
            content = json.dumps(body).encode()
            self.send_response(503 if state is None else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Silence."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            place = ["--service", f"http://127.0.0.1:{server.server_port}"]
            ran = Command(place, dict(os.environ))("wait", "a")
        finally:
            server.shutdown()
            thread.join()
    assert ran.returncode == 0, ran.stderr
    assert states == []


@pytest.mark.parametrize("service", ["localhost:1", "ftp://localhost"])
def test_other_addresses_are_wrong_usage(service: str) -> None:
    ran = Command(["--service", service], dict(os.environ))("list")
    assert ran.returncode == 2
    assert "service must be http:// or https://" in ran.stderr


def test_on_a_terminal_jobs_are_a_table(service: RunningService, bucket: Bucket) -> None:
    command = Command(["--service", service.url], dict(os.environ))
    command.json("submit", "--wait", *parameters(bucket), "--job-id", "in-a-table")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    argv = [sys.executable, "-m", "app.cli", "jobs", "list", *command.place]
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123  # a descriptor
        subprocess.run(argv, env=environment, stdout=theirs, timeout=60, check=True)
        os.close(theirs)
        text = terminal.read(65536).decode()
    header, *rows = text.splitlines()
    assert header.split() == ["job", "state", "model", "created", "rows", "bad", "seconds"]
    (row,) = [row for row in rows if "in-a-table" in row]
    assert "SUCCEEDED" in row
    assert f"{bucket.uri}/models/zoo/" in row
