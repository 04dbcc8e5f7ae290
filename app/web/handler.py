"""The Flask application, and the routes of a job that is run while its caller waits."""

from contextlib import AbstractContextManager, nullcontext

from flask import Blueprint, Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.concurrency.deadline import StopSignal
from app.config.job_spec import JobSpec
from app.settings import Settings
from app.telemetry.progress import LoggedProgress
from app.telemetry.report import Report
from app.web.answers import answer_bug, answer_http_error, answer_json, answered
from app.web.client_disconnect import connection_of, stop_on_disconnect
from app.web.job_routes import job_routes, submit
from app.web.request_parameters import job_parameters, preferences
from app.web.run_routes import run_routes
from app.web.service import Service, the_service
from app.web.vertex_routes import vertex_routes

routes = Blueprint("routes", __name__)


def create_app(settings: Settings) -> Flask:
    """The Flask application; its `extensions["service"]` is the Service."""
    flask_app = Flask("app.web")
    # Flask would redirect paths with double slashes to a wrong address.
    flask_app.url_map.merge_slashes = False
    flask_app.extensions["service"] = Service(settings)
    for blueprint in (routes, job_routes, run_routes, vertex_routes):
        flask_app.register_blueprint(blueprint)
    flask_app.register_error_handler(HTTPException, answer_http_error)
    flask_app.register_error_handler(Exception, answer_bug)
    return flask_app


@routes.get("/health", strict_slashes=False)
def health() -> Response:
    """Report the state of the instance, also while a job runs. 503 before it takes jobs."""
    runner = the_service().runner
    if runner.not_ready:
        return answer_json({"status": "loading", "reason": runner.not_ready}, 503)
    return answer_json({"status": "ok", "busy": runner.is_busy})


@routes.route("/", methods=["GET", "POST"])
def predict() -> Response:
    """Run one job, and answer with its report; or submit it, if the caller prefers that."""
    if request.method == "HEAD":
        raise MethodNotAllowed(valid_methods=["GET", "POST"])

    def answer(job_id: str) -> Response:
        if request.method == "POST" and preferences().respond_async:
            return submit()
        parameters = job_parameters()
        if not parameters and _is_browser():
            return Response(render_template("usage.html"))
        return answer_json(_run_alone(the_service().parse(parameters), job_id).as_json())

    return answered(answer)


def _run_alone(spec: JobSpec, job_id: str) -> Report:
    """Run a job. Raises Busy if another one is running."""
    service = the_service()
    with service.runner.alone() as stop_signal, _watching_the_caller(stop_signal, service.settings):
        return service.runner.run(
            spec, job_id=job_id, progress=LoggedProgress(), stop_signal=stop_signal
        )


def _watching_the_caller(
    stop_signal: StopSignal, settings: Settings
) -> AbstractContextManager[None]:
    """End the job when its client disconnects, if CANCEL_ON_HANG_UP is true."""
    connection = connection_of(request)
    if not settings.cancel_on_hang_up or connection is None:
        return nullcontext()
    return stop_on_disconnect(connection, stop_signal)


def _is_browser() -> bool:
    return request.method == "GET" and request.accept_mimetypes.best == "text/html"
