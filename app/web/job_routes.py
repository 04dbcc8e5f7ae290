"""The routes of jobs that last: submit, look, list, cancel, delete, and deliver."""

import logging

from flask import Blueprint, Response, request

from app.errors import InvalidArgument, NotFound, shortened
from app.http_server.request_body import body_of
from app.jobs.listing import wanted_jobs
from app.jobs.record import JobRecord, check_job_id, is_job_id, new_job_id
from app.jobs.record_json import as_json, now
from app.web.answers import answer_json, answered, trace_header
from app.web.request_parameters import job_parameters, preferences
from app.web.service import the_service
from app.web.waiting import wait_for_end

logger = logging.getLogger(__name__)
job_routes = Blueprint("jobs", __name__)

_LISTING = ("state", "model", "page_size", "page_token")


@job_routes.post("/jobs")
def create_job() -> Response:
    """Accept a job, and answer at once with where it is."""
    return answered(lambda _: submit())


@job_routes.get("/jobs")
def list_jobs() -> Response:
    """List the jobs, the newest first."""

    def answer(_: str) -> Response:
        if unknown := [name for name in request.args if name not in _LISTING]:
            raise InvalidArgument(
                f"unknown parameter {shortened(unknown[0])!r}; a listing takes"
                f" {', '.join(_LISTING)}",
                {"parameters": unknown},
            )
        page = the_service().jobs.list(
            wanted_jobs(request.args.get("state", ""), request.args.get("model", "")),
            whole_number("page_size", request.args.get("page_size", "")),
            request.args.get("page_token", ""),
        )
        jobs = list(map(as_json, page.records))
        return answer_json({"jobs": jobs, "next_page_token": page.next_token})

    return answered(answer)


@job_routes.get("/jobs/<job_id>")
def get_job(job_id: str) -> Response:
    """Tell how far a job is, or how it ended."""
    return answered(lambda _: answer_json(as_json(the_service().jobs.get(job_id))))


@job_routes.delete("/jobs/<job_id>")
def delete_job(job_id: str) -> Response:
    """Delete the record of a job that has ended."""

    def answer(_: str) -> Response:
        the_service().jobs.delete(job_id)
        return answer_json({})

    return answered(answer)


@job_routes.post("/jobs/<job_id>:cancel")
def cancel_job(job_id: str) -> Response:
    """Cancel a job, which may take some seconds where another instance runs it."""
    return answered(lambda _: answer_json(as_json(the_service().jobs.cancel(job_id))))


@job_routes.post("/jobs/<job_id>:run")
def run_job_of_queue(job_id: str) -> Response:
    """Run a job, as a queue delivers it. 200 means that there is nothing more to do."""

    def answer(_: str) -> Response:
        if request.args or body_of(request):
            raise InvalidArgument("a delivery has no parameters: the record of the job has them")
        if not is_job_id(job_id):
            raise NotFound(f"there is no job {shortened(job_id)!r}")
        try:
            record = the_service().jobs.deliver(job_id, trace_header())
        except NotFound as error:
            # The job was deleted. A queue would deliver it for ever.
            logger.warning("a delivery is of no use: %s", error.message)
            return answer_json({"job_id": job_id, "state": "JOB_STATE_UNSPECIFIED"})
        return answer_json({"job_id": record.job_id, "state": record.state.value})

    return answered(answer)


def submit() -> Response:
    """Submit the job that the request describes."""
    parameters = job_parameters()
    job_id = parameters.pop("job_id", None)
    if job_id is not None and not isinstance(job_id, str):
        raise InvalidArgument(f"job_id must be a string, it is {shortened(str(job_id))!r}")
    created = now()
    record = the_service().jobs.submit(
        JobRecord(
            job_id=check_job_id(job_id) if job_id else new_job_id(),
            spec=the_service().parse(parameters),
            create_time=created,
            update_time=created,
        ),
        is_named=bool(job_id),
    )
    preferred = preferences()
    record, has_waited = wait_for_end(record, preferred.wait_seconds, the_service())
    response = answer_json(as_json(record), 200 if record.state.is_final else 202)
    response.headers["Location"] = f"/jobs/{record.job_id}"
    if applied := preferred.applied(has_waited=has_waited):
        response.headers["Preference-Applied"] = applied
    return response


def whole_number(name: str, text: str) -> int:
    """0 if it is not given. Raises InvalidArgument."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidArgument(
            f"{name} must be a whole number, it is {shortened(text)!r}", {"parameters": [name]}
        )
    return int(text)
