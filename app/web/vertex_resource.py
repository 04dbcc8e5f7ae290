"""Vertex AI's BatchPredictionJob from the record of a job.

Source: google/cloud/aiplatform/v1/batch_prediction_job.proto and job_state.proto.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.rpc import code_pb2

from app.jobs.record import JobRecord, JobState
from app.jobs.record_json import timestamp

_STATE_NUMBERS = {
    JobState.QUEUED: 1,
    JobState.RUNNING: 3,
    JobState.SUCCEEDED: 4,
    JobState.FAILED: 5,
    JobState.CANCELLING: 6,
    JobState.CANCELLED: 7,
    JobState.EXPIRED: 9,
}
_TIMES = {
    "createTime": "create_time",
    "startTime": "start_time",
    "endTime": "end_time",
    "updateTime": "update_time",
}


def resource_of(record: JobRecord, *, integer_enums: bool = False) -> dict[str, Any]:
    """The request, with what is known of the job by now."""
    report = record.report or {}
    times = {name: getattr(record, attribute) for name, attribute in _TIMES.items()}
    resource = {
        **record.resource,
        "name": name_of(record),
        "state": _STATE_NUMBERS[record.state] if integer_enums else record.state.value,
        "outputInfo": {"gcsOutputDirectory": str(record.spec.output).rstrip("/")},
        **{name: timestamp(when) for name, when in times.items() if when is not None},
        "partialFailures": list(_partial_failures(report.get("files"))),
        "completionStats": _completion_stats(record),
    }
    if record.error is not None and record.state.is_final:
        resource["error"] = {
            "code": code_pb2.Code.Value(record.error["status"]),
            "message": record.error["message"],
            "details": record.error["details"],
        }
    if record.warnings:
        resource["warnings"] = list(record.warnings)
    return resource


def name_of(record: JobRecord) -> str:
    """The resource's name, `projects/P/locations/L/batchPredictionJobs/ID`."""
    return f"{record.parent}/batchPredictionJobs/{record.job_id}".removeprefix("/")


def _completion_stats(record: JobRecord) -> dict[str, str]:
    if record.report is not None:
        done: Mapping[str, Any] = record.report
        incomplete = "0"
    else:
        done = _done_before(record.error)
        # The number of remaining rows is unknown until the files are read.
        incomplete = "-1"
    return {
        "successfulCount": str(done.get("predictions", 0)),
        "failedCount": str(done.get("errors", 0)),
        "incompleteCount": incomplete,
    }


def _done_before(error: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The counts of complete files, as an error's Struct has them."""
    for detail in (error or {}).get("details", ()):
        if detail["@type"].endswith("protobuf.Struct"):
            return dict(detail["value"])
    return {}


def _partial_failures(files: Any) -> Iterable[dict[str, Any]]:
    """Empty for a listed record, whose report only counts its files."""
    for file in files if isinstance(files, list) else ():
        if file["errors"]:
            yield {
                "code": code_pb2.Code.Value("INVALID_ARGUMENT"),
                "message": f"{file['input']}: {file['errors']} of {file['instances']} instances"
                f" could not be predicted; {file['errors_output']} tells why",
            }
