"""Google's own client and SDK against the service, from an environment of their own."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from app.jobs.record import JobState
from app.jobs.record_json import now
from app.jobs.store import JobStore
from app.storage import Connections, TransferLimits, parse_location
from tests.app.jobs.test_record import record
from tests.fakes.buckets import Bucket
from tests.fakes.processes import gunicorn
from tests.fakes.waiting import until

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-vertex-client" / "bin" / "python"
PARENT = "projects/q/locations/l"
PROGRAM = ROOT / "tests" / "fakes" / "vertex_client.py"


@pytest.fixture(scope="module")
def url(gcs_url: str, bucket: Bucket, temporary_folder: Path) -> Iterator[str]:
    bucket.put("in/a.jsonl", '{"x": [1, 2, 3, 4]}\n')
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "JOBS_URI": f"{bucket.uri}/vertex-records/",
        "MODELS_URI": f"{bucket.uri}/models/",
    }
    with gunicorn(environment) as service:
        yield service.url


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The service of the module is started in its first test."""


@pytest.fixture(scope="module")
def many(url: str, gcs_url: str, bucket: Bucket) -> list[str]:
    """The names of 1,200 jobs of one parent, the newest first."""
    del url  # the service has the same records
    os.environ["STORAGE_EMULATOR_HOST"] = gcs_url
    folder = parse_location(f"{bucket.uri}/vertex-records/", parameter="JOBS_URI")
    store = JobStore(folder, Connections(None), TransferLimits())
    newest = now() - timedelta(days=1)

    def create(number: int) -> None:
        created = newest - timedelta(seconds=number)
        parent = "projects/many/locations/l"
        resource = {"displayName": f"many-{number}", "model": f"{bucket.uri}/models/formats/"}
        done = record(job_id=f"many-{number}", create_time=created)
        done = replace(done, parent=parent, resource=resource, state=JobState.SUCCEEDED)
        store.create(done)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(1200)))
    del os.environ["STORAGE_EMULATOR_HOST"]
    return [f"many-{number}" for number in range(1200)]


@pytest.fixture(scope="module")
def seen(url: str, gcs_url: str, bucket: Bucket, many: list[str]) -> dict[str, Any]:
    assert many
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": gcs_url}
    program = subprocess.run(
        [str(PYTHON), str(PROGRAM), url, bucket.uri],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    told: dict[str, Any] = json.loads(program.stdout.splitlines()[-1])
    return told


@pytest.mark.readme("Vertex AI's own client")
def test_the_generated_client_sees_the_whole_life_of_a_job(seen: dict[str, Any]) -> None:
    told = seen["low level"]
    assert told["created"] == "JOB_STATE_QUEUED"
    assert (told["ended"], told["successful"]) == ("JOB_STATE_SUCCEEDED", 1)
    assert told["model"] == "projects/p/locations/us-central1/models/formats"
    assert told["labels"] == {"team": "energy"}
    assert told["has times"]
    assert told["failed"] == "JOB_STATE_FAILED"
    assert told["error"][0] == 5
    assert "nothing matches" in told["error"][1]
    assert told["listed"] == ["bad", "good"]
    assert told["failed ones"] == ["bad"]
    assert told["by name"] == ["good"]
    assert told["in pages of one"] == ["bad", "good"]
    assert told["masked"] == ["bad", "good"]
    assert told["deleted"] is True
    reason, domain, message = told["gone"]
    assert (reason, domain) == ("NOT_FOUND", "embedded-tf")
    assert message.startswith("there is no job")
    assert "model and unmanagedContainerModel.artifactUri" in told["refused"]


@pytest.mark.readme("Vertex AI's own client")
def test_the_sdk_sees_the_whole_life_of_a_job(seen: dict[str, Any]) -> None:
    told = seen["high level"]
    assert told["state"] == told["again"] == "JOB_STATE_SUCCEEDED"
    (output,) = told["outputs"]
    name, _, line = output.partition(" ")
    assert name == "prediction.results-00000-of-00001"
    assert json.loads(line)["instance"] == {"x": [1, 2, 3, 4]}
    assert set(told["listed"]) == {"bad", "nightly", "broken"}
    assert told["by name"] == ["nightly"]
    assert told["failure"] is True


@pytest.mark.readme("Vertex AI's own client")
def test_many_jobs_are_listed_in_pages(seen: dict[str, Any], many: list[str]) -> None:
    assert seen["many"]["pages"] == [500, 500, 200]
    assert seen["many"]["names"] == many


def post(url: str, bucket: Bucket, query: str = "", **changes: Any) -> requests.Response:
    body = {
        "displayName": "plain",
        "model": f"{bucket.uri}/models/formats/",
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": [f"{bucket.uri}/in/*.jsonl"]},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"{bucket.uri}/plain"},
        },
        **changes,
    }
    return requests.post(
        f"{url}/v1/projects/q/locations/l/batchPredictionJobs{query}", json=body, timeout=60
    )


def test_system_parameters_are_taken(url: str, bucket: Bucket) -> None:
    query = "?$alt=json;enum-encoding=int&key=k&$prettyPrint=false&quotaUser=u&$fields=name,state"
    answer = post(url, bucket, query)
    assert answer.ok, answer.text
    assert answer.text.count("\n") == 1
    assert answer.json().keys() == {"name", "state"}
    assert answer.json()["state"] == 1
    job = f"{url}/v1/{answer.json()['name']}"
    until(
        lambda: requests.get(f"{job}?alt=json", timeout=30).json()["state"] == "JOB_STATE_SUCCEEDED"
    )
    masked = requests.get(
        f"{job}?fields=outputInfo(gcsOutputDirectory),completionStats/failedCount", timeout=30
    )
    assert masked.json()["completionStats"] == {"failedCount": "0"}
    assert masked.json().keys() == {"outputInfo", "completionStats"}


@pytest.mark.parametrize(
    "query",
    [
        "?alt=media",
        "?$alt=proto",
        "?fields=a(b",
        "?fields=a b",
        "?fields=,",
        "?surprise=1",
        "?fields=" + "a(" * 1400,
        "?readMask=a(b",
    ],
    ids=lambda query: query[:12],
)
def test_parameters_that_make_no_sense_are_400(query: str, url: str) -> None:
    parent = f"{url}/v1/{PARENT}/batchPredictionJobs"
    answer = requests.get(parent + query, timeout=30)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["details"][0]["reason"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "text",
    [
        "state",
        'state="A" OR state="B"',
        "surprise=1",
        'state<"A"',
        'create_time>"yesterday"',
        'state="A" AND',
    ],
)
def test_other_filters_are_400(text: str, url: str) -> None:
    parent = f"{url}/v1/{PARENT}/batchPredictionJobs"
    answer = requests.get(parent, params={"filter": text}, timeout=30)
    assert answer.status_code == 400, answer.text
    assert "filter must be" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('labels.team="a b AND c"', ["labelled"]),
        ("labels:team", ["labelled"]),
        ('labels.team="x"', []),
        ('displayName="labelled" AND create_time>"2026-01-31T00:00:00Z"', ["labelled"]),
        ('display_name="labelled" AND createTime<"2026-01-31T00:00:00+01:00"', []),
        ('display_name:"label*" AND labels.team:*', ["labelled"]),
        ('NOT display_name="plain" AND display_name="*"', ["labelled"]),
        ('state!="JOB_STATE_EXPIRED" AND display_name=labelled', ["labelled"]),
    ],
)
def test_filters_of_a_listing(text: str, names: list[str], url: str, bucket: Bucket) -> None:
    post(url, bucket, displayName="labelled", labels={"team": "a b AND c"})
    parent = f"{url}/v1/{PARENT}/batchPredictionJobs"
    listed = requests.get(parent, params={"filter": text}, timeout=30).json()
    assert sorted({job["displayName"] for job in listed["batchPredictionJobs"]}) == names


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"labels": 5}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"displayName": {"a": 1}}, "displayName"),
        ({"dedicatedResources": "many"}, "dedicatedResources"),
        ({"instanceConfig": {"includedFields": "x"}}, "instanceConfig.includedFields"),
    ],
)
def test_values_that_no_client_could_read_are_400(
    changes: dict[str, Any], field: str, url: str, bucket: Bucket
) -> None:
    answer = post(url, bucket, **changes)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith(f"{field} must be")


def test_a_failed_job_counts_no_rows_of_outputs_that_are_not_there(
    url: str, bucket: Bucket
) -> None:
    bucket.put("vertex-bad/a.jsonl", '{"x": [1, 2, 3, 4]}\n' * 5000 + "bad\n")
    source = {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"{bucket.uri}/vertex-bad/*"]}}
    name = post(url, bucket, "?on_error=fail", inputConfig=source).json()["name"]

    def job() -> dict[str, Any]:
        body: dict[str, Any] = requests.get(f"{url}/v1/{name}", timeout=30).json()
        return body

    until(lambda: job()["state"] == "JOB_STATE_FAILED")
    assert job()["completionStats"]["successfulCount"] == "0"


def test_a_job_is_below_its_parent_alone(url: str, bucket: Bucket) -> None:
    name = post(url, bucket).json()["name"].replace("projects/q/", "projects/other/")
    for answer in (
        requests.get(f"{url}/v1/{name}", timeout=30),
        requests.delete(f"{url}/v1/{name}", timeout=30),
        requests.post(f"{url}/v1/{name}:cancel", timeout=30),
    ):
        assert answer.status_code == 404
