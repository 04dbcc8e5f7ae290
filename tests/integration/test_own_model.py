"""An instance with a model of its own: MODEL."""

import shutil
from pathlib import Path

import pytest
import requests

from app.settings import Settings
from app.storage import parse_location
from app.web.handler import create_app
from tests.fakes.buckets import Bucket
from tests.fakes.processes import NOT_FORKED
from tests.fakes.waiting import until
from tests.faults.world import model_servers
from tests.integration.one_row_jobs import FIRST, SECOND, Jobs, Start, copy, was_kept


@pytest.mark.readme("model in the image")
def test_a_model_in_the_image_is_served_from_the_first_call(
    start: Start, bucket: Bucket, models: Path, tmp_path: Path, temporary_folder: Path
) -> None:
    """It lies where callers may read nothing."""
    folder = tmp_path / "image" / "energy"
    shutil.copytree(models / "linear" / FIRST, folder / "3")
    with start(
        MODEL=str(folder), PRIVATE_FOLDERS=str(temporary_folder), ALLOWED_URI_PREFIXES=bucket.uri
    ) as service:
        assert len(model_servers(service)) <= 1
        jobs = Jobs(bucket, service, "own-image")
        for model in (None, str(folder), None):
            report = jobs.run(model)
            assert was_kept(report)
            assert report["model"] == f"{folder}/"
            assert report["model_version"] == "3"
        assert jobs.call(f"{folder.parent}/").status_code == 403
        assert jobs.call(None, input=f"{folder}/3/saved_model.pb").status_code == 403


def test_others_are_served_as_usual(start: Start, bucket: Bucket, models: Path) -> None:
    own, other = copy(bucket, models, "own/one"), copy(bucket, models, "own/other", SECOND)
    with start(MODEL=own) as service:
        jobs = Jobs(bucket, service, "own-others")
        mine = jobs.run(None)
        others = jobs.run(other)
        assert others["model_version"] == SECOND
        assert [was_kept(one) for one in (mine, others, jobs.run(None))] == [True, False, True]


def test_others_are_refused_where_asked(start: Start, bucket: Bucket, models: Path) -> None:
    own, other = copy(bucket, models, "own/only"), copy(bucket, models, "own/not")
    with start(MODEL=own, ONLY_MODEL="true") as service:
        jobs = Jobs(bucket, service, "own-only")
        assert was_kept(jobs.run(None))
        assert was_kept(jobs.run(own))
        refused = jobs.call(other)
        assert refused.status_code == 403
        assert f"serves only {own}" in refused.json()["error"]["message"]
        submitted = requests.post(
            f"{service.url}/jobs",
            json={"model": other, "input": f"{bucket.uri}/x", "output": f"{bucket.uri}/y/"},
            timeout=50,
        )
        assert submitted.status_code == 403


def test_a_submitted_job_may_leave_it_out(start: Start, bucket: Bucket, models: Path) -> None:
    own = copy(bucket, models, "own/submitted")
    with start(MODEL=own) as service:
        Jobs(bucket, service, "own-submitted")
        submitted = requests.post(
            f"{service.url}/jobs",
            json={
                "input": f"{bucket.uri}/own-submitted/in.jsonl",
                "output": f"{bucket.uri}/own-submitted/out/",
            },
            headers={"Prefer": "wait=40"},
            timeout=50,
        ).json()
        assert submitted["state"] == "JOB_STATE_SUCCEEDED", submitted
        assert submitted["parameters"]["model"] == own


def test_a_new_version_is_taken(start: Start, bucket: Bucket, models: Path) -> None:
    own = copy(bucket, models, "own/rollout")
    with start(MODEL=own) as service:
        jobs = Jobs(bucket, service, "own-rollout")
        old = jobs.run(None)
        copy(bucket, models, "own/rollout", SECOND)
        new = jobs.run(None)
        assert (old["model_version"], new["model_version"]) == (FIRST, SECOND)
        assert new["prediction"] != old["prediction"]
        assert was_kept(jobs.run(None))


def test_its_older_versions_are_not_kept(start: Start, bucket: Bucket, models: Path) -> None:
    """Also if jobs have named their folders."""
    own = copy(bucket, models, "own/versions")
    with start(MODEL=own, **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "own-versions")
        jobs.run(f"{own}{FIRST}/")
        for version in (SECOND, "11", "12"):
            bucket.put_folder(f"own/versions/{version}", models / "linear" / SECOND)
            assert jobs.run(None)["model_version"] == version
            jobs.run(f"{own}{version}/")
        assert len(model_servers(service)) == 1


def test_a_mistake_of_a_caller_costs_it_nothing(start: Start, bucket: Bucket, models: Path) -> None:
    own = copy(bucket, models, "own/mistakes")
    with start(MODEL=own) as service:
        jobs = Jobs(bucket, service, "own-mistakes")
        assert jobs.call(None, signature_name="other").status_code == 422
        assert was_kept(jobs.run(None))


def test_it_is_loaded_again_after_a_job_that_ran_out_of_time(start: Start, bucket: Bucket) -> None:
    with start(MODEL=f"{bucket.uri}/models/zoo/") as service:
        jobs = Jobs(bucket, service, "own-time")
        bucket.put("own-time/in.jsonl", "1000\n")
        assert jobs.call(None, signature_name="slow", timeout_seconds=1).status_code == 504
        until(lambda: service.output().count("models/zoo/ is loaded") == 2)
        bucket.put("own-time/in.jsonl", "0\n")
        assert was_kept(jobs.run(None, signature_name="slow"))


def test_its_server_is_replaced_when_it_dies(start: Start, bucket: Bucket, models: Path) -> None:
    own = copy(bucket, models, "own/dies")
    with start(MODEL=own, **NOT_FORKED) as service:
        jobs = Jobs(bucket, service, "own-dies")
        before = jobs.run(None)
        (server,) = model_servers(service)
        server.kill()
        until(lambda: model_servers(service) == [])
        assert jobs.run(None)["prediction"] == before["prediction"]
        assert was_kept(jobs.run(None))


@pytest.mark.parametrize("what", ["missing", "broken"])
def test_a_model_that_cannot_be_loaded_ends_the_instance(
    what: str, start: Start, bucket: Bucket
) -> None:
    model = f"{bucket.uri}/models/broken/" if what == "broken" else f"{bucket.uri}/nowhere/"
    with pytest.raises(RuntimeError, match="MODEL cannot be loaded") as failed, start(MODEL=model):
        pass
    reason = {"broken": "cut off", "missing": "nothing below"}[what]
    assert reason in str(failed.value)


def test_an_instance_that_loads_says_so_and_takes_no_jobs(models: Path) -> None:
    model = parse_location(str(models / "linear" / FIRST), parameter="MODEL")
    app = create_app(Settings(model=model.as_folder()))
    service = app.extensions["service"]
    client = app.test_client()
    health = client.get("/health")
    assert health.status_code == 503
    assert "is loading" in health.get_json()["reason"]
    refused = client.get("/?input=gs://bkt/in&output=gs://bkt/out/")
    assert refused.status_code == 503
    assert "is loading" in refused.get_json()["error"]["message"]
    assert refused.headers["Retry-After"] == "5"
    failures: list[str] = []
    service.start(on_failure=lambda: failures.append("it failed"))
    try:
        until(lambda: client.get("/health").status_code == 200)
    finally:
        service.close()
    assert failures == []
