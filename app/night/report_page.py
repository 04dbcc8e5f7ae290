"""The page of a run: one HTML file that needs no other.

Its data is compact, since a page may hold 10,000 jobs: each is an array, and states, phases and
errors are told by their numbers. The order of a job's fields is that at the beginning of page.js.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import orjson

from app.jobs.record_json import parse_timestamp
from app.night.reconciliation import Outcome

_STATES = [outcome.value for outcome in Outcome]
_PLACEHOLDER_ERROR = -1
_SETTLED = ("running", "never ran")


def report_page(report: Mapping[str, Any], *, project: str | None = None) -> bytes:
    """The page of a report. With a `project`, jobs link to their records in Cloud Logging."""
    fields = {
        "policy": _policy(),
        "title": escape(f"{report['run']}: {verdict(report)}"),
        "style": _part("page.css"),
        "run": escape(str(report["run"])),
        "verdict": escape(verdict(report)),
        "verdict_class": _verdict_class(report),
        "times": escape(f"created {report['created']}, as of {report['updated']}"),
        # In a script element, only "<" could end the data.
        "data": orjson.dumps(_data(report, project)).decode().replace("<", "\\u003c"),
        "script": _part("page.js"),
    }
    before, *pieces = _part("page.html").split("{{")
    page = [before]
    for piece in pieces:
        name, _, text = piece.partition("}}")
        page += [fields[name], text]
    return "".join(page).encode()


def policy_header() -> str:
    """The Content-Security-Policy for a server that sends the page."""
    return f"{_policy()}; frame-ancestors 'none'"


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence: what the run has come to."""
    states, total = report["states"], report["total"]
    if not report["complete"]:
        settled = total - sum(states[name] for name in _SETTLED)
        failed = f", {states['failed']:,} failed" if states["failed"] else ""
        return f"{settled:,} of {total:,} jobs have ended{failed}"
    fine = ["succeeded", "reused"]
    nothing = ""
    if states["no input"] and not report["require_input"]:
        fine.append("no input")
        nothing = f"; {states['no input']:,} had no input"
    others = {name: count for name, count in states.items() if count and name not in fine}
    if not others:
        return f"All {total:,} jobs are done{nothing}"
    words = ", ".join(f"{count:,} {name}" for name, count in others.items())
    return f"{sum(others.values()):,} of {total:,} jobs are not done: {words}{nothing}"


def _verdict_class(report: Mapping[str, Any]) -> str:
    if not report["complete"]:
        return "running"
    return "good" if report["success"] else "bad"


def _data(report: Mapping[str, Any], project: str | None) -> dict[str, Any]:
    jobs = report["jobs"]
    starts = [parse_timestamp(job["start"]) for job in jobs if "start" in job]
    origin = min(starts, default=parse_timestamp(report["created"]))
    phases = sorted({phase for job in jobs for phase in job.get("phases", {})})
    errors: dict[tuple[str, str], int] = {}
    prefix = report["job_id_prefix"]
    rows = [_row(job, prefix, origin, phases, errors) for job in jobs]
    return {
        "complete": report["complete"],
        "rows": report["rows"],
        "seconds": report["seconds"],
        "state_names": _STATES,
        "state_counts": [report["states"][name] for name in _STATES],
        "failures": [{**cause, "names": cause["names"][:1]} for cause in report["failures"]],
        "compared_with": report.get("compared_with"),
        "origin": int(origin.timestamp() * 1000),
        "job_prefix": prefix,
        "log_address": project and _log_address(project),
        "phases": phases,
        "errors": list(errors),
        "jobs": rows,
    }


def _row(
    job: Mapping[str, Any],
    prefix: str,
    origin: datetime,
    phases: list[str],
    errors: dict[tuple[str, str], int],
) -> list[Any]:
    error = job.get("error")
    note = (error["reason"], error["message"]) if error else ("", job.get("message", ""))
    spent = job.get("phases", {})
    return [
        job["name"],
        _STATES.index(job["state"]),
        job.get("rows"),
        job.get("bad_rows"),
        job.get("seconds"),
        _offset(job.get("start"), origin),
        _offset(job.get("end"), origin),
        job.get("attempts"),
        job["input_files"],
        job["input_bytes"],
        job["job_id"].removeprefix(prefix),
        errors.setdefault(note, len(errors)) if note[1] else _PLACEHOLDER_ERROR,
        [spent.get(phase, 0) for phase in phases] if spent else 0,
    ]


def _offset(text: str | None, origin: datetime) -> float | None:
    if text is None:
        return None
    return round((parse_timestamp(text) - origin).total_seconds(), 2)


def _log_address(project: str) -> str:
    """Source: cloud.google.com/logging/docs/view/logs-explorer-interface#url_format"""
    query = quote('jsonPayload.job_id="', safe="") + "{job_id}" + quote('"', safe="")
    return f"https://console.cloud.google.com/logs/query;query={query}?project={quote(project)}"


@cache
def _part(name: str) -> str:
    return (files("app.night") / "page" / name).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """Nothing but this page's own style and script, told by their hashes: w3.org/TR/CSP3."""
    style, script = (_hash(_part(name)) for name in ("page.css", "page.js"))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}';"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
