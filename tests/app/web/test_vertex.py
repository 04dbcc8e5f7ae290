"""Vertex AI's BatchPredictionJob becomes a job, and a job becomes that resource."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import InvalidArgument, NotFound
from app.jobs.record import JobRecord
from app.storage import parse_location
from app.telemetry.report import FileReport, Report
from app.web.vertex import BatchPredictionJob, parse_batch_prediction_job
from app.web.vertex_resource import resource_of

BODY: dict[str, Any] = {
    "displayName": "nightly",
    "unmanagedContainerModel": {"artifactUri": "gs://bkt/models/energy/"},
    "inputConfig": {"instancesFormat": "csv", "gcsSource": {"uris": ["gs://bkt/today/*"]}},
    "outputConfig": {
        "predictionsFormat": "jsonl",
        "gcsDestination": {"outputUriPrefix": "gs://bkt/out"},
    },
}
FILE = FileReport(
    input="gs://bkt/today/a.csv",
    output="gs://bkt/out/p/prediction.results-00000-of-00001",
    errors_output="gs://bkt/out/p/prediction.errors_stats-00000-of-00001",
    instances=5,
    predictions=3,
    errors=2,
    input_bytes=9,
    output_bytes=9,
)


def report() -> Report:
    return Report(
        job_id="j",
        model="gs://bkt/models/energy/",
        model_version="1",
        signature_name="serving_default",
        inputs=("gs://bkt/today/*",),
        output="gs://bkt/out/p/",
        files=(FILE,),
        files_left_out=0,
        seconds={"total": 1.0},
        storage_requests={"list": 2},
    )


CREATED = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
MODELS = parse_location("gs://bkt/registry/", parameter="MODELS_URI")


def parse(
    body: Mapping[str, Any], url_parameters: Mapping[str, Any] | None = None
) -> BatchPredictionJob:
    return parse_batch_prediction_job(
        body, url_parameters or {}, models=MODELS, folder_suffix="then-id"
    )


def record_of(job: BatchPredictionJob) -> JobRecord:
    return JobRecord(
        job_id="j",
        spec=job.spec,
        create_time=CREATED,
        update_time=CREATED,
        parent="projects/p/locations/l",
        resource=job.resource,
        warnings=job.warnings,
    )


def test_fields_become_parameters() -> None:
    body = {**BODY, "instanceConfig": {"keyField": "site", "excludedFields": ["note"]}}
    job = parse(body, {"timeout_seconds": "5"})
    assert str(job.spec.model) == "gs://bkt/models/energy/"
    assert list(map(str, job.spec.inputs)) == ["gs://bkt/today/*"]
    assert job.spec.input_format == "csv"
    assert job.spec.fields.key == "site"
    assert job.spec.fields.excluded == ("note",)
    assert job.spec.on_error == "skip"
    assert job.spec.timeout_seconds == 5
    assert job.spec.numbered_outputs
    assert str(job.spec.output).startswith("gs://bkt/out/prediction-energy-")


def test_names_with_underscores_are_the_same() -> None:
    """As the JSON form of a protocol buffer allows."""
    body = {
        "display_name": "nightly",
        "unmanaged_container_model": {"artifact_uri": "gs://bkt/models/energy/"},
        "input_config": {"instances_format": "csv", "gcs_source": {"uris": ["gs://bkt/today/*"]}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": "gs://bkt/out"},
        },
    }
    ours, theirs = (parse(one) for one in (BODY, body))
    assert (ours.spec.model, ours.spec.inputs) == (theirs.spec.model, theirs.spec.inputs)


def test_meaningless_fields_are_warnings() -> None:
    body = {**BODY, "dedicatedResources": {"machineSpec": {}}, "serviceAccount": "a"}
    job = parse(body)
    assert len(job.warnings) == 2
    assert any("dedicatedResources" in warning for warning in job.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, "surprise"),
        ({"model": "gs://bkt/other/"}, "both are given"),
        ({"unmanagedContainerModel": {}}, "neither is given"),
        ({"inputConfig": {"instancesFormat": "bigquery"}}, "inputConfig.instancesFormat"),
        ({"generateExplanation": True}, "generateExplanation"),
        ({"outputConfig": {"predictionsFormat": "jsonl"}}, "outputConfig.gcsDestination"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse({**BODY, **change})


def test_success_fills_the_resource_in() -> None:
    job = parse(BODY)
    resource = resource_of(record_of(job).succeeded(report().as_json(), CREATED))
    assert resource["name"] == "projects/p/locations/l/batchPredictionJobs/j"
    assert resource["createTime"] == "2026-01-31T12:00:00.250Z"
    assert resource["displayName"] == "nightly"
    assert resource["state"] == "JOB_STATE_SUCCEEDED"
    assert resource["completionStats"]["successfulCount"] == "3"
    assert resource["completionStats"]["failedCount"] == "2"
    assert len(resource["partialFailures"]) == 1
    assert resource["outputInfo"]["gcsOutputDirectory"].startswith(
        "gs://bkt/out/prediction-energy-"
    )


def test_failure_has_the_error_as_a_status() -> None:
    job = parse(BODY)
    error = NotFound("input: nothing matches gs://bkt/today/*")
    resource = resource_of(record_of(job).failed(error, CREATED))
    assert resource["state"] == "JOB_STATE_FAILED"
    assert resource["error"]["code"] == 5
    assert "nothing matches" in resource["error"]["message"]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("projects/p/locations/l/models/energy", "gs://bkt/registry/energy/"),
        ("projects/p/locations/l/models/energy@7", "gs://bkt/registry/energy/7/"),
        ("projects/p/locations/l/models/energy@default", "gs://bkt/registry/energy/"),
    ],
)
def test_names_of_the_registry_are_folders(name: str, folder: str) -> None:
    job = parse({**BODY, "model": name, "unmanagedContainerModel": None})
    assert str(job.spec.model) == folder
    assert job.resource["model"] == name


@pytest.mark.parametrize(
    "name", ["projects/p/models/1", "projects/p/locations/l/models/..", "projects/p/locations/l/"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="projects/P/locations/L/models/NAME"):
        parse({**BODY, "model": name, "unmanagedContainerModel": None})


def test_states_may_be_numbers() -> None:
    assert resource_of(record_of(parse(BODY)), integer_enums=True)["state"] == 1
