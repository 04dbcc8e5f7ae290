"""A job's record as JSON: as it is stored, and briefly, for the metadata of its object."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from app.config.job_spec import parameters_of, parse_job_spec
from app.errors import JobError, shortened
from app.jobs.record import Counts, JobRecord, JobState, Lease
from app.telemetry.report import log_fields

# Object metadata holds 8 KiB: cloud.google.com/storage/quotas#objects
_MOST_BRIEF_BYTES = 7000
_BRIEF_MESSAGE_CHARACTERS = 500
_TIMES = ("create_time", "update_time", "start_time", "end_time", "retry_time")


class NoRecord(Exception):
    """The bytes are no record of a job."""


def now() -> datetime:
    """The time, in the precision of records: milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def timestamp(when: datetime) -> str:
    """RFC 3339, in milliseconds."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime:
    """Parse RFC 3339. Raises ValueError, also where the offset is missing."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"no offset in {text!r}")
    return when


def as_json(record: JobRecord) -> dict[str, Any]:
    """The whole record; fields without a value are left out."""
    body: dict[str, Any] = {
        "job_id": record.job_id,
        "state": record.state.value,
        "parameters": parameters_of(record.spec),
        "numbered_outputs": record.spec.numbered_outputs or None,
        **{name: _time(getattr(record, name)) for name in _TIMES},
        "attempts": record.attempts,
        "run_seconds": round(record.run_seconds, 3),
        "made_seconds": round(record.made_seconds, 3) or None,
        "tasks": record.tasks or None,
        "lease": _lease(record.lease),
        "progress": asdict(record.counts),
        "report": record.report,
        "error": record.error,
        "parent": record.parent or None,
        "resource": record.resource or None,
        "warnings": list(record.warnings) or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def encoded(record: JobRecord) -> bytes:
    """The content of the record's object."""
    return orjson.dumps(as_json(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def decoded(content: bytes | str) -> JobRecord:
    """The record in the content of its object. Raises NoRecord."""
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise NoRecord(str(error)) from error
    return parse_record(body)


def parse_record(body: Mapping[str, Any]) -> JobRecord:
    """The record that `as_json` has given. Raises NoRecord."""
    try:
        return _parse(body)
    except (ValueError, KeyError, TypeError, AttributeError, JobError) as error:
        raise NoRecord(str(error)) from error


def brief(record: JobRecord) -> str | None:
    """The record without its list of files and the particulars of its error.

    None where that is too large for the metadata of an object.
    """
    report = None if record.report is None else log_fields(record.report)
    error = None
    if record.error is not None:
        message = shortened(str(record.error["message"]), _BRIEF_MESSAGE_CHARACTERS)
        details = [_class_only(one) for one in record.error["details"] if "reason" in one]
        error = {**record.error, "message": message, "details": details}
    text = orjson.dumps(as_json(replace(record, report=report, error=error)))
    return None if len(text) > _MOST_BRIEF_BYTES else text.decode()


def _class_only(error_info: Mapping[str, Any]) -> dict[str, Any]:
    """An ErrorInfo without the particulars of the error."""
    return {**error_info, "metadata": {}}


def _parse(body: Mapping[str, Any]) -> JobRecord:
    spec = parse_job_spec(body["parameters"])
    lease = body.get("lease")
    return JobRecord(
        job_id=body["job_id"],
        spec=replace(spec, numbered_outputs=body.get("numbered_outputs", False)),
        state=JobState(body["state"]),
        create_time=parse_timestamp(body["create_time"]),
        update_time=parse_timestamp(body["update_time"]),
        start_time=_parse_time(body, "start_time"),
        end_time=_parse_time(body, "end_time"),
        retry_time=_parse_time(body, "retry_time"),
        attempts=body["attempts"],
        run_seconds=body["run_seconds"],
        made_seconds=body.get("made_seconds", 0.0),
        tasks=body.get("tasks", 0),
        lease=lease and Lease(lease["owner"], parse_timestamp(lease["expires"])),
        counts=Counts(**body["progress"]),
        report=body.get("report"),
        error=body.get("error"),
        parent=body.get("parent", ""),
        resource=body.get("resource", {}),
        warnings=tuple(body.get("warnings", ())),
    )


def _parse_time(body: Mapping[str, Any], name: str) -> datetime | None:
    return parse_timestamp(body[name]) if name in body else None


def _time(when: datetime | None) -> str | None:
    return None if when is None else timestamp(when)


def _lease(lease: Lease | None) -> dict[str, Any] | None:
    if lease is None:
        return None
    return {"owner": lease.owner, "expires": timestamp(lease.expires)}
