"""The routes of the service, and the translation of errors into responses."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoSuchPath

from app.concurrency.deadline import StopSignal
from app.config.field_names import field_names
from app.config.job_spec import LISTS_OF_NAMES, REPEATED, JobSpec, parse_job_spec
from app.errors import Busy, InternalError, InvalidArgument, JobError, ShuttingDown
from app.http_server.refusals import shortened
from app.http_server.request_body import body_of
from app.instance.ending import Instance
from app.instance.heap import give_back_free_memory, give_back_free_memory_soon
from app.instance.private_folders import PrivateFolders
from app.instance.workspace import sweep
from app.job.run import run_job
from app.settings import Settings
from app.storage import Connections
from app.telemetry.log import JOB_FIELDS, LogContext, job_context
from app.telemetry.progress import LoggedProgress
from app.telemetry.report import Report, log_fields
from app.web.client_disconnect import stop_on_disconnect
from app.web.vertex import failed, parse_batch_prediction_job, succeeded
from tfserving_launcher import ProgramNotFound, find_program

_PLACES = "GET /health, GET and POST /, POST /v1/batchPredictionJobs"

logger = logging.getLogger(__name__)
routes = Blueprint("routes", __name__)


class Service:
    """The state that requests share: settings, storage, and the lock of the running job."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = Connections(settings.project)
        self.running = threading.Lock()
        # The program that runs the service sets its instance.
        self.instance = Instance(PrivateFolders(), end=lambda: None)
        self._stop_signal = StopSignal()
        self._ending: JobError | None = None

    def begin_job(self) -> StopSignal:
        """The stop signal of a new job. If the instance is ending, the signal is set already."""
        self._stop_signal = StopSignal()
        if self._ending is not None:
            self._stop_signal.stop(self._ending)
        return self._stop_signal

    def as_seen_by_callers(self, error: Exception) -> Exception:
        """Translate a job's error into ShuttingDown if the instance is ending.

        During shutdown a job fails in many ways: pools are closed, the model server is gone. Errors
        that the caller caused stay.
        """
        if self._ending is None or (isinstance(error, JobError) and error.code < 500):
            return error
        details = error.details if isinstance(error, JobError) else {}
        return ShuttingDown(self._ending.message, details)

    def end(self) -> None:
        """End the running job and all later ones. Safe in signal handlers."""
        self._ending = ShuttingDown("the instance is shutting down; the job was stopped")
        self._stop_signal.stop(self._ending)

    def warm_up(self) -> None:
        """Prepare in the background what the first job needs.

        The first job retries what fails here, and reports it.
        """
        for step in (sweep, self.connections.warm_up, find_program):
            try:
                step()
            except (JobError, ProgramNotFound) as error:
                logger.warning("%s", error)


def create_app(settings: Settings) -> Flask:
    """The Flask application; its `extensions["service"]` is the Service."""
    flask_app = Flask("app.web")
    # Flask would redirect paths with double slashes to a wrong address.
    flask_app.url_map.merge_slashes = False
    flask_app.extensions["service"] = Service(settings)
    flask_app.register_blueprint(routes)
    flask_app.register_error_handler(HTTPException, _answer_http_error)
    flask_app.register_error_handler(Exception, _answer_bug)
    return flask_app


@routes.get("/health", strict_slashes=False)
def health() -> Response:
    """Report the state of the instance, also while a job runs."""
    return _json({"status": "ok", "busy": _service().running.locked()})


@routes.route("/", methods=["GET", "POST"])
def predict() -> Response:
    """Run one job, and answer with its report."""
    if request.method == "HEAD":
        raise MethodNotAllowed(valid_methods=["GET", "POST"])

    def answer(job_id: str) -> Response:
        parameters = _parameters()
        if not parameters and _is_browser():
            return Response(render_template("usage.html"))
        return _json(_run_alone(parse_job_spec(parameters), job_id).as_json())

    return _answered(answer)


@routes.post("/v1/batchPredictionJobs")
@routes.post("/v1/<path:parent>/batchPredictionJobs")
def create_batch_prediction_job(parent: str = "") -> Response:
    """Run one job given as Vertex AI's resource, and answer with the completed resource.

    A job that fails after its start is a resource as well, with the HTTP status of its error, so
    that clients retry by status.
    """

    def answer(job_id: str) -> Response:
        job = parse_batch_prediction_job(_json_object(body_of(request)), _url_parameters())
        for warning in job.warnings:
            logger.warning("%s", warning)
        name = f"{parent}/batchPredictionJobs/{job_id}".removeprefix("/")
        try:
            return _json(succeeded(job, name, _run_alone(job.spec, job_id)))
        except Busy:
            raise
        except JobError as error:
            response = _answer_job_error(error)
            response.set_data(_encoded(failed(job, name, error)))
            return response

    return _answered(answer)


def _answered(answer: Callable[[str], Response]) -> Response:
    """Call `answer` with a new job id; translate its error into a response."""
    context = LogContext(uuid.uuid4().hex[:12], request.headers.get("X-Cloud-Trace-Context", ""))
    with job_context(context):
        try:
            return answer(context.job_id)
        except JobError as error:
            return _answer_job_error(error)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # logged while the context still names the job
            return _answer_bug(error)


def _run_alone(spec: JobSpec, job_id: str) -> Report:
    """Run a job. Raises Busy if another one is running."""
    service = _service()
    if not service.running.acquire(blocking=False):
        raise Busy("another job is running in this instance; it takes one at a time")
    stop_signal = service.begin_job()
    try:
        with _told_as_callers_see_it(service), _watching_the_caller(stop_signal, service.settings):
            report = run_job(
                spec,
                job_id=job_id,
                settings=service.settings,
                connections=service.connections,
                progress=LoggedProgress(),
                stop_signal=stop_signal,
            )
    finally:
        if not service.instance.freshen():
            service.end()
        service.running.release()
        give_back_free_memory()
        give_back_free_memory_soon()
    fields = log_fields(report.as_json())
    seconds = orjson.dumps(fields["seconds"]).decode()
    logger.info("job succeeded: %s", seconds, extra={JOB_FIELDS: fields})
    return report


@contextmanager
def _told_as_callers_see_it(service: Service) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        told = service.as_seen_by_callers(error)
        if told is error:
            raise
        logger.warning("while the instance is shutting down: %s", error, exc_info=error)
        raise told from error


def _watching_the_caller(
    stop_signal: StopSignal, settings: Settings
) -> AbstractContextManager[None]:
    """End the job when its client disconnects, if CANCEL_ON_HANG_UP is true."""
    # Where gunicorn puts the connection: docs.gunicorn.org, "gunicorn.socket" in the WSGI environ.
    connection = request.environ.get("gunicorn.socket")
    if not settings.cancel_on_hang_up or connection is None:
        return nullcontext()
    return stop_on_disconnect(connection, stop_signal)


def _service() -> Service:
    service: Service = current_app.extensions["service"]
    return service


def _is_browser() -> bool:
    return request.method == "GET" and request.accept_mimetypes.best == "text/html"


def _parameters() -> dict[str, Any]:
    """The parameters of the query string and of a JSON body. Each may be given once."""
    parameters = _url_parameters()
    if request.method == "POST" and (body := body_of(request)):
        for name, value in _json_object(body).items():
            if name in parameters:
                raise InvalidArgument(
                    f"parameter {name} is given in the URL and in the body", {"parameters": [name]}
                )
            parameters[name] = value
    return parameters


def _url_parameters() -> dict[str, Any]:
    """The parameters of the query string, which repeats a list's name for each value."""
    parameters: dict[str, Any] = {}
    for name, values in request.args.lists():
        if len(values) > 1 and name not in REPEATED:
            raise InvalidArgument(
                f"parameter {name} is given {len(values)} times", {"parameters": [name]}
            )
        parameters[name] = values if len(values) > 1 else values[0]
        if name in LISTS_OF_NAMES:
            parameters[name] = field_names(values, name)
    return parameters


def _json_object(data: bytes) -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise InvalidArgument(
            "the body must be a JSON object with Content-Type application/json,"
            f" its type is {request.mimetype or 'not given'}"
        )
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"the body is not JSON: {error.msg}") from None
    if not isinstance(body, dict):
        raise InvalidArgument(f"the body must be a JSON object, it is {type(body).__name__}")
    return body


def _answer_job_error(error: JobError) -> Response:
    log = logger.error if error.code >= 500 else logger.warning
    extra = {JOB_FIELDS: error.job_fields} if error.job_fields else None
    log("job failed with %d %s: %s", error.code, error.status, error.message, extra=extra)
    response = _json(error.as_json(), error.code)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _answer_http_error(error: HTTPException) -> Response:
    """Answer for an unknown path or method."""
    code = error.code or 500
    body = {
        "code": code,
        "status": (error.name or "error").upper().replace(" ", "_"),
        "message": _words_for(error),
        "details": {},
    }
    response = _json({"error": body}, code)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _words_for(error: HTTPException) -> str:
    path = shortened(request.path)
    if isinstance(error, NoSuchPath):
        return f"there is no {path} here; there are {_PLACES}"
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
        return f"{path} takes {' and '.join(methods)}, the method is {shortened(request.method)}"
    return error.description or f"the request to {path} cannot be answered"


def _answer_bug(error: Exception) -> Response:
    logger.error("unexpected error", exc_info=error)
    return _json(InternalError("internal error; the log has its trace").as_json(), 500)


def _json(body: dict[str, Any], code: int = 200) -> Response:
    return Response(_encoded(body), status=code, mimetype="application/json")


def _encoded(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
