"""Log records: one JSON object each, as Cloud Logging reads it, or text for people.

Source of the fields: cloud.google.com/logging/docs/structured-logging and
cloud.google.com/trace/docs/trace-context (X-Cloud-Trace-Context: TRACE_ID/SPAN_ID;o=OPTIONS).
"""

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO

import orjson

from app.errors import JobError

_TRACE_CONTEXT = re.compile(
    r"(?P<trace>[0-9a-fA-F]{32})(?:/(?P<span>[0-9]{1,20}))?(?:;o=(?P<o>[01]))?"
)

# The attribute of a log record for the fields of a job's end.
JOB_FIELDS = "job"
# The same for the end of a run of many jobs.
RUN_FIELDS = "run"
# Control characters except tab and line feed, and those that change the text's direction.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class LogContext:
    """The fields of each log record of a job. `trace` is a header's value, or empty."""

    job_id: str
    trace: str = ""


logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LogSlot:
    """Holds the job to which log records belong. A kept server's threads see when it changes."""

    context: LogContext | None = None


_current: ContextVar[LogSlot | None] = ContextVar("job_context", default=None)


@contextmanager
def job_context(context: LogContext) -> Iterator[None]:
    """Log records in the block, and in threads that copy its context, belong to the job."""
    token = _current.set(LogSlot(context))
    try:
        yield
    finally:
        _current.reset(token)


def current_job() -> LogContext | None:
    """The job to which log records belong here."""
    slot = _current.get()
    return None if slot is None else slot.context


def log_into(slot: LogSlot) -> None:
    """From now on log records of this context belong to the job in `slot`."""
    _current.set(slot)


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON. `project` links traces in Cloud Logging."""

    converter = staticmethod(time.gmtime)

    def __init__(self, project: str | None = None) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "message": message,
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "logger": record.name,
        }
        if job := getattr(record, JOB_FIELDS, None):
            entry[JOB_FIELDS] = job
        if run := getattr(record, RUN_FIELDS, None):
            entry[RUN_FIELDS] = run
        if context := current_job():
            entry["job_id"] = context.job_id
            entry.update(_trace_fields(context.trace, self._project))
        return orjson.dumps(entry, default=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def printable(text: str) -> str:
    """Escape characters that control a terminal, except line ends and tabs."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def default_formatter(
    *, project: str | None = None, stream: TextIO = sys.stderr
) -> logging.Formatter:
    """Text where `stream` is a terminal, JSON elsewhere."""
    return TextFormatter() if stream.isatty() else JsonFormatter(project)


def set_up_logging(level: str, *, project: str | None = None, stream: TextIO = sys.stderr) -> None:
    """All records go to `stream`, in its default format."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(default_formatter(project=project, stream=stream))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG they log URLs, and an upload's URL is a credential.
    for name in ("urllib3", "requests", "google"):
        logging.getLogger(name).setLevel(logging.INFO)


def log_failure(error: JobError) -> None:
    """Log the error that ends a job or a request, with the fields of the job's end."""
    log = logger.error if error.code >= 500 else logger.warning
    extra = {JOB_FIELDS: error.job_fields} if error.job_fields else None
    log("job failed with %d %s: %s", error.code, error.status, error.message, extra=extra)


def _trace_fields(header: str, project: str | None) -> dict[str, Any]:
    match = _TRACE_CONTEXT.match(header)
    if match is None:
        return {}
    trace = match["trace"]
    fields: dict[str, Any] = {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace}" if project else trace
    }
    if match["span"]:
        fields["logging.googleapis.com/spanId"] = f"{int(match['span']):016x}"
    if match["o"]:
        fields["logging.googleapis.com/trace_sampled"] = match["o"] == "1"
    return fields
