"""The routes of runs: fan out many jobs, follow them, and show what became of them."""

import logging

from flask import Blueprint, Response, request

from app.errors import InvalidArgument, NotFound, shortened
from app.http_server.request_body import body_of
from app.jobs.record_json import now
from app.night.report_page import policy_header, report_page
from app.night.run_files import summary_of
from app.night.run_request import parse_run_request
from app.web.answers import answer_json, answered
from app.web.request_parameters import json_object
from app.web.service import the_service

logger = logging.getLogger(__name__)
run_routes = Blueprint("runs", __name__)


@run_routes.post("/fan-out")
def fan_out() -> Response:
    """Plan many jobs and put them into the queue; answer when all are in it."""

    def answer(_: str) -> Response:
        _refuse_arguments()
        runs = the_service().runs
        report = runs.fan_out(parse_run_request(json_object(body_of(request)), now()))
        response = answer_json(summary_of(report), 200 if report["complete"] else 202)
        response.headers["Location"] = f"/runs/{report['run']}"
        return response

    return answered(answer)


@run_routes.get("/runs")
def list_runs() -> Response:
    """List what the latest runs came to, the newest first."""

    def answer(_: str) -> Response:
        _refuse_arguments()
        return answer_json({"runs": the_service().runs.summaries()})

    return answered(answer)


@run_routes.get("/runs/<run>")
def get_run(run: str) -> Response:
    """The report of a run: a page for browsers, JSON otherwise."""

    def answer(_: str) -> Response:
        _refuse_arguments()
        service = the_service()
        report = service.runs.report(run)
        if request.accept_mimetypes.best != "text/html":
            return answer_json(report)
        page = Response(report_page(report, project=service.settings.project))
        page.headers["Content-Security-Policy"] = policy_header()
        page.headers["X-Content-Type-Options"] = "nosniff"
        page.headers["Cache-Control"] = "no-store"
        return page

    return answered(answer)


@run_routes.post("/runs/<run>:follow")
def follow_run(run: str) -> Response:
    """Bring the report of a run up to date, as a queue asks now and then until its end."""

    def answer(_: str) -> Response:
        _refuse_arguments()
        if body_of(request):
            raise InvalidArgument("a delivery has no parameters: the run's manifest has them")
        try:
            report = the_service().runs.follow(run)
        except NotFound as error:
            # The run was deleted. A queue would deliver this for ever.
            logger.warning("a delivery is of no use: %s", error.message)
            return answer_json({"run": run, "complete": True})
        return answer_json(summary_of(report))

    return answered(answer)


def _refuse_arguments() -> None:
    if request.args:
        name = next(iter(request.args))
        raise InvalidArgument(
            f"unknown parameter {shortened(name)!r}", {"parameters": list(request.args)}
        )
