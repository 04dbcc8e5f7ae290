"""Vertex AI's BatchPredictionJob becomes a job, and a job becomes that resource."""

from typing import Any

import pytest

from app.errors import InvalidArgument, NotFound
from app.telemetry.report import FileReport, Report
from app.web.vertex import failed, parse_batch_prediction_job, succeeded

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
    )


def test_fields_become_parameters() -> None:
    body = {**BODY, "instanceConfig": {"keyField": "site", "excludedFields": ["note"]}}
    job = parse_batch_prediction_job(body, {"timeout_seconds": "5"})
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
    ours, theirs = (parse_batch_prediction_job(one, {}) for one in (BODY, body))
    assert (ours.spec.model, ours.spec.inputs) == (theirs.spec.model, theirs.spec.inputs)


def test_meaningless_fields_are_warnings() -> None:
    body = {**BODY, "dedicatedResources": {"machineSpec": {}}, "serviceAccount": "a"}
    job = parse_batch_prediction_job(body, {})
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
        parse_batch_prediction_job({**BODY, **change}, {})


def test_success_fills_the_resource_in() -> None:
    job = parse_batch_prediction_job(BODY, {})
    resource = succeeded(job, "projects/p/locations/l/batchPredictionJobs/j", report())
    assert resource["displayName"] == "nightly"
    assert resource["state"] == "JOB_STATE_SUCCEEDED"
    assert resource["completionStats"]["successfulCount"] == "3"
    assert resource["completionStats"]["failedCount"] == "2"
    assert len(resource["partialFailures"]) == 1
    assert resource["outputInfo"]["gcsOutputDirectory"].startswith(
        "gs://bkt/out/prediction-energy-"
    )


def test_failure_has_the_error_as_a_status() -> None:
    job = parse_batch_prediction_job(BODY, {})
    error = NotFound("input: nothing matches gs://bkt/today/*")
    resource = failed(job, "projects/p/locations/l/batchPredictionJobs/j", error)
    assert resource["state"] == "JOB_STATE_FAILED"
    assert resource["error"]["code"] == 5
    assert "nothing matches" in resource["error"]["message"]
