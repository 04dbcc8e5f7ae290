"""Vertex AI's routes of batch prediction jobs.

Source: cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
"""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from app.errors import InvalidArgument, NotFound, shortened
from app.http_server.request_body import body_of
from app.job.own_model import check_model_is_served
from app.jobs.record import JobRecord, new_job_id
from app.jobs.record_json import now, timestamp
from app.web.answers import answer_json, answered
from app.web.google_api import CallOptions, masked, take_call_options
from app.web.job_routes import whole_number
from app.web.list_filter import parse_filter
from app.web.request_parameters import json_object, preferences, url_parameters
from app.web.service import the_service
from app.web.vertex import parse_batch_prediction_job
from app.web.vertex_resource import name_of, resource_of
from app.web.waiting import wait_for_end

vertex_routes = Blueprint("vertex", __name__, url_prefix="/v1")

_COLLECTIONS = ("/batchPredictionJobs", "/<path:parent>/batchPredictionJobs")
_LISTING = ("filter", "pageSize", "pageToken", "readMask")


def _route(method: str, suffix: str = "") -> Callable[[Any], Any]:
    """Register a function for the collection, or for one job, below any parent."""

    def register(function: Any) -> Any:
        for collection in _COLLECTIONS:
            vertex_routes.add_url_rule(
                f"{collection}{suffix}", view_func=function, methods=[method]
            )
        return function

    return register


@_route("POST")
def create_batch_prediction_job(parent: str = "") -> Response:
    """Accept a job, and answer with its resource. `Prefer: wait=SECONDS` waits for its end."""

    def answer(_: str) -> Response:
        parameters = url_parameters()
        options = take_call_options(parameters)
        created = now()
        service = the_service()
        job_id = new_job_id()
        job = parse_batch_prediction_job(
            json_object(body_of(request)),
            parameters,
            models=service.settings.models_uri,
            # Two jobs may be created in one millisecond.
            folder_suffix=f"{timestamp(created)}-{job_id[:6]}",
        )
        check_model_is_served(job.spec, service.settings)
        record = service.jobs.submit(
            JobRecord(
                job_id=job_id,
                spec=job.spec,
                create_time=created,
                update_time=created,
                parent=parent,
                resource=job.resource,
                warnings=job.warnings,
            ),
            is_named=False,
        )
        preferred = preferences()
        record, has_waited = wait_for_end(record, preferred.wait_seconds, service)
        response = _answer_job(record, options)
        if has_waited:
            response.headers["Preference-Applied"] = f"wait={preferred.wait_seconds:g}"
        return response

    return answered(answer)


@_route("GET")
def list_batch_prediction_jobs(parent: str = "") -> Response:
    """List the jobs of a parent, the newest first."""

    def answer(_: str) -> Response:
        parameters = url_parameters()
        options = take_call_options(parameters)
        asked = {name: str(parameters.pop(name, "")) for name in _LISTING}
        _refuse_others(parameters)
        matches = parse_filter(asked["filter"])
        if asked["readMask"]:
            masked({}, asked["readMask"])  # refused also where there are no jobs
        page = the_service().jobs.list(
            lambda record: _is_below(record, parent) and matches(record),
            whole_number("pageSize", asked["pageSize"]),
            asked["pageToken"],
        )
        jobs = [resource_of(one, integer_enums=options.integer_enums) for one in page.records]
        if asked["readMask"]:
            jobs = [masked(job, asked["readMask"]) for job in jobs]
        body: dict[str, Any] = {"batchPredictionJobs": jobs}
        if page.next_token:
            body["nextPageToken"] = page.next_token
        return answer_json(options.masked(body), pretty=options.pretty)

    return answered(answer)


@_route("GET", "/<job_id>")
def get_batch_prediction_job(job_id: str, parent: str = "") -> Response:
    """Answer with the resource as it is now."""
    return answered(lambda _: _answer_job(_load(job_id, parent), _only_call_options()))


@_route("POST", "/<job_id>:cancel")
def cancel_batch_prediction_job(job_id: str, parent: str = "") -> Response:
    """Begin to cancel the job; success is not certain, as the documentation says."""

    def answer(_: str) -> Response:
        _only_call_options()
        body_of(request)
        _load(job_id, parent)
        the_service().jobs.cancel(job_id)
        return answer_json({})

    return answered(answer)


@_route("DELETE", "/<job_id>")
def delete_batch_prediction_job(job_id: str, parent: str = "") -> Response:
    """Delete the job, and answer with an operation that is done."""

    def answer(_: str) -> Response:
        options = _only_call_options()
        record = _load(job_id, parent)
        the_service().jobs.delete(job_id)
        operation = {
            "name": f"{name_of(record)}/operations/delete",
            "done": True,
            "response": {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}},
        }
        return answer_json(operation, pretty=options.pretty)

    return answered(answer)


def _answer_job(record: JobRecord, options: CallOptions) -> Response:
    body = resource_of(record, integer_enums=options.integer_enums)
    return answer_json(options.masked(body), pretty=options.pretty)


def _load(job_id: str, parent: str) -> JobRecord:
    """Raises NotFound, also for a job that is below another parent."""
    record = the_service().jobs.get(job_id)
    if not _is_below(record, parent):
        raise NotFound(f"there is no job {shortened(job_id)!r} below {shortened(parent)!r}")
    return record


def _is_below(record: JobRecord, parent: str) -> bool:
    return bool(record.resource) and record.parent == parent


def _only_call_options() -> CallOptions:
    parameters = url_parameters()
    options = take_call_options(parameters)
    _refuse_others(parameters)
    return options


def _refuse_others(parameters: dict[str, Any]) -> None:
    if parameters:
        name = next(iter(parameters))
        raise InvalidArgument(
            f"unknown parameter {shortened(name)!r}", {"parameters": list(parameters)}
        )
