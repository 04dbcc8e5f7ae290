"""The HTTP interface: routes, and the one place where errors become answers."""

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
    """What the requests of one process share: settings, storage, and the one place for a job."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections = Connections(settings.project)
        self.running = threading.Lock()
        # Whoever runs the service says what its instance is.
        self.instance = Instance(PrivateFolders(), end=lambda: None)
        self._stop_signal = StopSignal()
        self._ending: JobError | None = None

    def begin_job(self) -> StopSignal:
        """What ends the job from outside. An instance that is ending lets none begin."""
        self._stop_signal = StopSignal()
        if self._ending is not None:
            self._stop_signal.stop(self._ending)
        return self._stop_signal

    def as_seen_by_callers(self, error: Exception) -> Exception:
        """The error of a job; of an instance that is ending, the end is what it tells of.

        What a job stands on is taken away in any order then: pools take no more work, its model
        server is gone. Errors that are the caller's stay.
        """
        if self._ending is None or (isinstance(error, JobError) and error.code < 500):
            return error
        details = error.details if isinstance(error, JobError) else {}
        return ShuttingDown(self._ending.message, details)

    def end(self) -> None:
        """Ends the running job and all that follow. May be called by a signal handler."""
        self._ending = ShuttingDown("the instance is shutting down; the job was stopped")
        self._stop_signal.stop(self._ending)

    def warm_up(self) -> None:
        """Does in the background what the first job would have to wait for.

        What fails is tried again by that job, and told to its caller.
        """
        for step in (sweep, self.connections.warm_up, find_program):
            try:
                step()
            except (JobError, ProgramNotFound) as error:
                logger.warning("%s", error)


def create_app(settings: Settings) -> Flask:
    """The Flask application; its `extensions["service"]` is the Service."""
    flask_app = Flask("app.web")
    # Flask would answer a path with double slashes by a redirection, which names no place.
    flask_app.url_map.merge_slashes = False
    flask_app.extensions["service"] = Service(settings)
    flask_app.register_blueprint(routes)
    flask_app.register_error_handler(HTTPException, _answer_http_error)
    flask_app.register_error_handler(Exception, _answer_bug)
    return flask_app


@routes.get("/health", strict_slashes=False)
def health() -> Response:
    """Answers while a job runs, too."""
    return _json({"status": "ok", "busy": _service().running.locked()})


@routes.route("/", methods=["GET", "POST"])
def predict() -> Response:
    """Runs one job and answers with its report."""
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
    """Runs one job that is asked for as Vertex AI's is, and answers with that resource filled in.

    A job that fails once it is begun is a resource as well, with the HTTP status of its error, so
    that whoever tries again by that does.
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
    """What `answer` gives for a new job's id, or what its error becomes."""
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
    """Raises Busy where another job is running."""
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
    """Ends the job when its client disconnects, if CANCEL_ON_HANG_UP is set."""
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
    """The query string's, and those of a JSON object in the body. Each may be given once."""
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
    """Those of the query string; one that is a list is given once for each value."""
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
    """An unknown path, or a method that is not taken."""
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
