"""What a run is asked for: by the options of a command, or by the body of a request."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.config.job_spec import OPTIONAL
from app.errors import InvalidArgument, shortened
from app.night.planned_jobs import (
    PlannedJob,
    Template,
    expand_template,
    jobs_of_manifest,
    load_manifest,
)
from app.night.run_files import check_run_name
from app.storage import Location, Storage, parse_location

_OF_A_RUN = (
    "manifest",
    "models",
    "input",
    "output",
    "run",
    "date",
    "timezone",
    "only",
    "limit",
    "retry_failed",
    "require_input",
)
_FLAGS = ("retry_failed", "require_input")
_TEXTS = ("manifest", "models", "output", "run", "date", "timezone")


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs of a run before they are looked up: a manifest or a template.

    `parameters` are those of all jobs, `day` is what `{date}` stands for. With `require_input`, a
    job without input is a failure.
    """

    source: Location | Template
    parameters: Mapping[str, Any]
    day: date
    require_input: bool = False

    def content(self, storage: Storage) -> bytes:
        """That of the manifest; empty for a template. Raises NotFound and InvalidArgument."""
        return b"" if isinstance(self.source, Template) else load_manifest(self.source, storage)

    def jobs(self, content: bytes, storage: Storage) -> list[PlannedJob]:
        """Raises NotFound, and InvalidPlan with all that is wrong."""
        if isinstance(self.source, Template):
            return expand_template(self.source, self.parameters, self.day, storage)
        return jobs_of_manifest(content, self.source, self.parameters, self.day)

    def as_json(self, content: bytes) -> dict[str, Any]:
        """What tells this plan from another one."""
        if isinstance(self.source, Template):
            template = self.source
            source: dict[str, Any] = {
                "models": template.models,
                "input": list(template.inputs),
                "output": template.output,
            }
        else:
            source = {
                "manifest": str(self.source),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        return {
            **source,
            "parameters": dict(self.parameters),
            "date": self.day.isoformat(),
            "require_input": self.require_input,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs of a run a call begins: those named, at most `limit`, failed ones or not."""

    only: tuple[str, ...] = ()
    limit: int | None = None
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run, and what to do of it now."""

    run: str
    plan: Plan
    choice: Choice


def parse_run_request(
    body: Mapping[str, Any], now: datetime, *, relative_paths: bool = False
) -> RunRequest:
    """Parse the JSON object that describes a run. `now` has a time zone.

    Raises InvalidArgument with the parameter, the expected value and the actual one.
    """
    _check_types(body)
    day = _day(body.get("date", ""), body.get("timezone") or "UTC", now)
    parameters = {
        name: value
        for name, value in body.items()
        # A flag that is not set is one that is not given.
        if name in OPTIONAL and (value is not False or name == "csv_header")
    }
    require_input = bool(body.get("require_input"))
    manifest, models = body.get("manifest", ""), body.get("models", "")
    if bool(manifest) == bool(models):
        raise InvalidArgument(
            "give one of manifest and models", {"parameters": ["manifest", "models"]}
        )
    if manifest:
        if given := [name for name in ("input", "output") if body.get(name)]:
            raise InvalidArgument(
                f"{given[0]}: each line of a manifest has its own", {"parameters": given}
            )
        location = parse_location(manifest, parameter="manifest", relative=relative_paths)
        name = location.path.rpartition("/")[2].partition(".")[0]
        plan = Plan(location, parameters, day, require_input)
    else:
        name = models.partition("*")[0].rstrip("/").rpartition("/")[2]
        plan = Plan(_template(body), parameters, day, require_input)
    limit = body.get("limit")
    return RunRequest(
        check_run_name(body.get("run") or f"{_run_name(name)}-{day.isoformat()}"),
        plan,
        Choice(_names(body, "only"), limit, bool(body.get("retry_failed"))),
    )


def _template(body: Mapping[str, Any]) -> Template:
    missing = [name for name in ("input", "output") if not body.get(name)]
    if missing:
        raise InvalidArgument(f"models needs {' and '.join(missing)}", {"parameters": missing})
    return Template(body["models"], _names(body, "input"), body["output"])


def _check_types(body: Mapping[str, Any]) -> None:
    known = (*_OF_A_RUN, *OPTIONAL)
    if unknown := [name for name in body if name not in known]:
        raise InvalidArgument(
            f"unknown parameter {shortened(unknown[0])!r}; known are {', '.join(known)}",
            {"parameters": [shortened(unknown[0])]},
        )
    for name in _TEXTS:
        if not isinstance(body.get(name, ""), str):
            raise _malformed(name, "a string", body[name])
    for name in _FLAGS:
        if not isinstance(body.get(name, False), bool):
            raise _malformed(name, "true or false", body[name])
    limit = body.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise _malformed("limit", "a whole number above 0", limit)


def _names(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name, ())
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _malformed(name, "a string or a list of strings", value)
    return tuple(value)


def _run_name(name: str) -> str:
    plain = "".join(one if one.isascii() and one.isalnum() else "-" for one in name).strip("-")
    return plain or "run"


def _day(text: str, timezone: str, now: datetime) -> date:
    if text:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise _malformed("date", "as in 2026-01-31", text) from None
    try:
        return now.astimezone(ZoneInfo(timezone)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"timezone: there is no {shortened(timezone)!r}", {"parameters": ["timezone"]}
        ) from None


def _malformed(name: str, expected: str, value: Any) -> InvalidArgument:
    return InvalidArgument(
        f"{name} must be {expected}, it is {shortened(str(value))!r}", {"parameters": [name]}
    )
