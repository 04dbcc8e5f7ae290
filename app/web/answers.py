"""Responses: JSON, and errors in the form of Google's APIs (google.aip.dev/193)."""

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoSuchPath

from app.errors import InternalError, JobError, reason_of, typed_details
from app.http_server.refusals import shortened
from app.telemetry.log import LogContext, job_context, log_failure

_PLACES = (
    "GET /health, GET and POST /, GET and POST /jobs, GET and DELETE /jobs/ID,"
    " POST /jobs/ID:cancel, POST /fan-out, GET /runs, GET /runs/RUN,"
    " and Vertex AI's /v1/.../batchPredictionJobs"
)

# Names of google.rpc codes: google/rpc/code.proto.
_STATUSES = {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}

logger = logging.getLogger(__name__)


def answered(answer: Callable[[str], Response]) -> Response:
    """Call `answer` with a new job id; translate its error into a response."""
    context = LogContext(uuid.uuid4().hex[:12], trace_header())
    with job_context(context):
        try:
            return answer(context.job_id)
        except JobError as error:
            log_failure(error)
            return answer_error(error)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # logged while the context still names the job
            return answer_bug(error)


def trace_header() -> str:
    """The trace that the request belongs to, as Google Cloud's front ends tell it."""
    return request.headers.get("X-Cloud-Trace-Context", "")


def answer_json(body: Mapping[str, Any], code: int = 200, *, pretty: bool = True) -> Response:
    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if pretty else 0)
    return Response(orjson.dumps(body, option=options), status=code, mimetype="application/json")


def answer_error(error: JobError) -> Response:
    response = answer_json(error.as_json(), error.code)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def answer_http_error(error: HTTPException) -> Response:
    """Answer for an unknown path or method."""
    code = error.code or 500
    body = {
        "code": code,
        "status": _STATUSES.get(code, "INVALID_ARGUMENT" if code < 500 else "INTERNAL"),
        "message": _words_for(error),
        "details": typed_details(reason_of(type(error).__name__), {}, None),
    }
    response = answer_json({"error": body}, code)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def answer_bug(error: Exception) -> Response:
    logger.error("unexpected error", exc_info=error)
    return answer_error(InternalError("internal error; the log has its trace"))


def _words_for(error: HTTPException) -> str:
    path = shortened(request.path)
    if isinstance(error, NoSuchPath):
        return f"there is no {path} here; there are {_PLACES}"
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
        return f"{path} takes {' and '.join(methods)}, the method is {shortened(request.method)}"
    return error.description or f"the request to {path} cannot be answered"
