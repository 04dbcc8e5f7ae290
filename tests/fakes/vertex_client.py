"""A program with Google's own client, as its users write it: the whole life of a job.

Runs in an environment of its own: python vertex_client.py URL BUCKET_URI. Prints what it saw as
JSON. Nothing in it knows of this project.
"""

import json
import sys
import time
from typing import Any

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, aiplatform_v1

_PARENT = "projects/p/locations/us-central1"
_MODEL = f"{_PARENT}/models/formats"
_ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def _job(name: str, source: str, output: str) -> aiplatform_v1.BatchPredictionJob:
    return aiplatform_v1.BatchPredictionJob(
        display_name=name,
        model=_MODEL,
        input_config={"instances_format": "jsonl", "gcs_source": {"uris": [source]}},
        output_config={
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": output},
        },
        labels={"team": "energy"},
    )


def _ended(client: Any, name: str) -> Any:
    for _ in range(300):
        job = client.get_batch_prediction_job(name=name)
        if job.state.name in _ENDED:
            return job
        time.sleep(0.1)
    raise RuntimeError(f"{name} did not end")


def low_level(url: str, bucket: str) -> dict[str, Any]:
    """With the generated client."""
    client = aiplatform_v1.JobServiceClient(
        credentials=AnonymousCredentials(),
        transport="rest",
        client_options={"api_endpoint": url},
    )

    def create(name: str, source: str) -> Any:
        job = _job(name, f"{bucket}/{source}", f"{bucket}/low-level")
        return client.create_batch_prediction_job(parent=_PARENT, batch_prediction_job=job)

    def listed(**request: Any) -> list[str]:
        found = client.list_batch_prediction_jobs(request={"parent": _PARENT, **request})
        return [job.display_name for job in found]

    good = create("good", "in/*.jsonl")
    bad = create("bad", "absent/*")
    done, failed = _ended(client, good.name), _ended(client, bad.name)
    seen = {
        "created": good.state.name,
        "ended": done.state.name,
        "successful": done.completion_stats.successful_count,
        "model": done.model,
        "labels": dict(done.labels),
        "has times": all((done.create_time, done.start_time, done.end_time, done.update_time)),
        "failed": failed.state.name,
        "error": [failed.error.code, failed.error.message],
        "listed": listed(),
        "failed ones": listed(filter='state="JOB_STATE_FAILED"'),
        "by name": listed(filter='display_name="good"'),
        "in pages of one": listed(page_size=1),
        "masked": listed(read_mask="name,displayName"),
    }
    client.cancel_batch_prediction_job(name=good.name)
    seen["deleted"] = client.delete_batch_prediction_job(name=good.name).done()
    try:
        client.get_batch_prediction_job(name=good.name)
    except exceptions.NotFound as error:
        seen["gone"] = [error.reason, error.domain, error.message.partition(": ")[2]]
    try:
        client.create_batch_prediction_job(parent=_PARENT, batch_prediction_job={})
    except exceptions.BadRequest as error:
        seen["refused"] = error.message.partition(": ")[2]
    return seen


def high_level(url: str, bucket: str) -> dict[str, Any]:
    """With the SDK."""
    aiplatform.init(
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
        api_transport="rest",
        api_endpoint=url,
    )

    def create(name: str, source: str) -> Any:
        return aiplatform.BatchPredictionJob.create(
            job_display_name=name,
            model_name=_MODEL,
            instances_format="jsonl",
            predictions_format="jsonl",
            gcs_source=[f"{bucket}/{source}"],
            gcs_destination_prefix=f"{bucket}/high-level",
            sync=False,
        )

    job = create("nightly", "in/*.jsonl")
    broken = create("broken", "absent/*")
    job.wait()
    seen: dict[str, Any] = {
        "state": job.state.name,
        "outputs": [
            blob.name.rpartition("/")[2] + " " + blob.download_as_text()
            for blob in job.iter_outputs()
        ],
        "listed": [
            one.display_name for one in aiplatform.BatchPredictionJob.list(order_by="create_time")
        ],
        "by name": [
            one.display_name
            for one in aiplatform.BatchPredictionJob.list(
                filter='state="JOB_STATE_SUCCEEDED" AND display_name="nightly"'
            )
        ],
        "again": aiplatform.BatchPredictionJob(job.resource_name).state.name,
    }
    try:
        broken.wait()
    except RuntimeError as error:
        seen["failure"] = "nothing matches" in str(error)
    job.cancel()
    job.delete()
    return seen


def many(url: str) -> dict[str, Any]:
    """All jobs of a parent that has many, in pages."""
    client = aiplatform_v1.JobServiceClient(
        credentials=AnonymousCredentials(),
        transport="rest",
        client_options={"api_endpoint": url},
    )
    request = {"parent": "projects/many/locations/l", "page_size": 500}
    pages = list(client.list_batch_prediction_jobs(request=request).pages)
    return {
        "pages": [len(page.batch_prediction_jobs) for page in pages],
        "names": [job.display_name for page in pages for job in page.batch_prediction_jobs],
    }


def main(url: str, bucket: str) -> None:
    seen = {
        "low level": low_level(url, bucket),
        "high level": high_level(url, bucket),
        "many": many(url),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
