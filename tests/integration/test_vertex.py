"""Jobs that are asked for as Vertex AI's are."""

import re
from typing import Any

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.integration.test_formats import lines

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def body_of(bucket: Bucket, source: str, **changes: Any) -> dict[str, Any]:
    return {
        "displayName": "nightly",
        "unmanagedContainerModel": {"artifactUri": f"{bucket.uri}/models/formats"},
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": [f"{bucket.uri}/{source}"]},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"{bucket.uri}/vertex-out"},
        },
        **changes,
    }


def post(
    service: RunningService, body: object, path: str = "/v1/batchPredictionJobs"
) -> requests.Response:
    return requests.post(service.url + path, json=body, headers={"Prefer": "wait=50"}, timeout=60)


@pytest.mark.readme("request body of Vertex AI", "counters", "errors report")
def test_a_job_answers_with_the_resource_filled_in(service: RunningService, bucket: Bucket) -> None:
    bucket.put("vertex/a.jsonl", '{"x": [1,2,3,4], "id": 7}\n{"id": 8}\n')
    bucket.put("vertex/b.jsonl", '{"x": [0,0,0,0], "id": 9}\n')
    asked = body_of(
        bucket,
        "vertex/*.jsonl",
        instance_config={"key_field": "id"},
        manualBatchTuningParameters={"batchSize": 16},
        labels={"team": "energy"},
        dedicatedResources={"machineSpec": {"machineType": "n1-standard-4"}, "maxReplicaCount": 4},
        serviceAccount="robot@example.iam.gserviceaccount.com",
    )
    response = post(service, asked, "/v1/projects/p/locations/l/batchPredictionJobs")
    assert response.status_code == 200, response.text
    job = response.json()
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["name"].startswith("projects/p/locations/l/batchPredictionJobs/")
    assert job["completionStats"] == {
        "successfulCount": "2",
        "failedCount": "1",
        "incompleteCount": "0",
    }
    for name in ("displayName", "inputConfig", "outputConfig", "labels", "dedicatedResources"):
        assert job[name] == asked[name]
    assert job["instanceConfig"] == {"keyField": "id"}
    assert all(TIME.fullmatch(job[name]) for name in ("createTime", "startTime", "endTime"))
    assert job["warnings"] == [
        "dedicatedResources means nothing here",
        "serviceAccount means nothing here",
    ]
    folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"{bucket.uri}/")
    number = job["name"].rpartition("/")[2]
    assert folder == f"vertex-out/prediction-formats-{job['createTime']}-{number[:6]}"
    assert bucket.names(folder) == [
        f"{folder}/prediction.errors_stats-00000-of-00002",
        f"{folder}/prediction.results-00000-of-00002",
        f"{folder}/prediction.results-00001-of-00002",
    ]
    (result,) = lines(bucket.get(f"{folder}/prediction.results-00000-of-00002"))
    assert result == {"key": 7, "prediction": {"scores": [3.0, 5.0, 7.0, 9.0], "total": 10.0}}
    (error,) = lines(bucket.get(f"{folder}/prediction.errors_stats-00000-of-00002"))
    assert error["key"] == 8
    assert set(error["error"]) >= {"code", "message"}
    (partial,) = job["partialFailures"]
    assert partial["code"] == 3
    assert "1 of 2 instances could not be predicted" in partial["message"]


@pytest.mark.readme("request body of Vertex AI", "keys and instances")
def test_without_key_instances_return(service: RunningService, bucket: Bucket) -> None:
    """Without a key instances come back and tables work."""
    bucket.put("vertex-table/in.csv", "a,b,c,d\n1,2,3,4\n")
    asked = body_of(bucket, "vertex-table/in.csv", model=f"{bucket.uri}/models/formats/")
    del asked["unmanagedContainerModel"]
    asked["inputConfig"]["instancesFormat"] = "csv"
    job = post(service, asked).json()
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert job["partialFailures"] == []
    folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"{bucket.uri}/")
    (row,) = lines(bucket.get(f"{folder}/prediction.results-00000-of-00001"))
    assert row["instance"] == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert row["prediction"]["total"] == 10.0


def test_failed_job_is_resource_with_error(service: RunningService, bucket: Bucket) -> None:
    """A job that fails is a resource, as the job was created; its error is in it."""
    response = post(service, body_of(bucket, "vertex-absent/*"))
    assert response.status_code == 200
    job = response.json()
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 5
    assert "nothing matches" in job["error"]["message"]
    assert job["completionStats"]["successfulCount"] == "0"
    assert job["displayName"] == "nightly"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": 1}, "unknown field 'machine'"),
        ({"inputConfig": {"bigquerySource": {}}}, "unknown field 'inputConfig.bigquerySource'"),
        (
            {"inputConfig": {"instancesFormat": "jsonl"}},
            "missing field: inputConfig.gcs",
        ),
        ({"inputConfig": {"instancesFormat": "bigquery"}}, "instancesFormat must be one of jsonl"),
        ({"inputConfig": []}, "inputConfig must be an object"),
        ({"outputConfig": {}}, "missing field: outputConfig.gcsDestination.outputUriPrefix"),
        ({"unmanagedContainerModel": {}}, "neither is given"),
        ({"model": "gs://b/m"}, "both are given"),
        ({"model": "gs://bkt/m", "unmanagedContainerModel": {}, "labels": {}, "x_y": 2}, "'xY'"),
        (
            {"model": "projects/p/models/1", "unmanagedContainerModel": {}},
            "models/NAME, with @VERSION",
        ),
        ({"generateExplanation": True}, "no explanations"),
        ({"instanceConfig": {"instanceType": "array"}}, "object, or array for csv"),
        ({"input_config": {"instancesFormat": "jsonl"}}, "given twice"),
        ({"manualBatchTuningParameters": {"batchSize": -1}}, "batch_size must be a whole number"),
    ],
)
def test_wrong_request_is_400_and_names_field(
    changes: dict[str, Any], words: str, service: RunningService, bucket: Bucket
) -> None:
    """What is asked wrongly is 400 and names the field."""
    response = post(service, body_of(bucket, "vertex/a.jsonl", **changes))
    assert response.status_code == 400, response.text
    assert words in response.json()["error"]["message"]
