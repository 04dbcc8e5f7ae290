"""A run as JSON or as options, and what is wrong with it."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidArgument
from app.night.planned_jobs import Template
from app.night.run_request import Choice, parse_run_request
from app.storage import Storage

EVENING = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
TEMPLATE = {"models": "gs://bkt/models/*/", "input": "gs://bkt/{name}", "output": "gs://bkt/o/"}


def test_a_template_names_the_run_and_the_day() -> None:
    request = parse_run_request({**TEMPLATE, "on_error": "skip"}, EVENING)
    assert request.run == "models-2026-03-01"
    assert request.plan.source == Template(
        "gs://bkt/models/*/", ("gs://bkt/{name}",), "gs://bkt/o/"
    )
    assert request.plan.parameters == {"on_error": "skip"}
    assert request.choice == Choice()


def test_a_day_is_that_of_a_place() -> None:
    body = {**TEMPLATE, "timezone": "Asia/Tokyo"}
    assert parse_run_request(body, EVENING).plan.day == date(2026, 3, 2)
    assert parse_run_request({**body, "date": "2026-01-01"}, EVENING).plan.day == date(2026, 1, 1)


def test_a_manifest_names_the_run() -> None:
    body = {"manifest": "gs://bkt/shops of the north.jsonl", "only": ["a"], "limit": 3}
    request = parse_run_request({**body, "retry_failed": True, "require_input": True}, EVENING)
    assert request.run == "shops-of-the-north-2026-03-01"
    assert str(request.plan.source) == "gs://bkt/shops of the north.jsonl"
    assert request.choice == Choice(("a",), 3, retry_failed=True)
    assert request.plan.require_input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ""}, "one of manifest and models"),
        ({"manifest": "gs://bkt/m"}, "one of manifest and models"),
        ({"models": "", "manifest": "gs://bkt/m"}, "each line of a manifest has its own"),
        ({"output": ""}, "models needs output"),
        ({"surprise": 1}, "unknown parameter 'surprise'"),
        ({"reports": "gs://bkt/"}, "unknown parameter 'reports'"),
        ({"date": "tomorrow"}, "date must be as in 2026-01-31"),
        ({"date": 7}, "date must be a string"),
        ({"timezone": "Mars"}, "there is no 'Mars'"),
        ({"timezone": "../etc"}, "there is no"),
        ({"timezone": "Europe"}, "there is no 'Europe'"),
        ({"run": "../x"}, "run must be"),
        ({"limit": 0}, "limit must be a whole number above 0"),
        ({"limit": True}, "limit must be a whole number above 0"),
        ({"only": [1]}, "only must be a string or a list"),
        ({"retry_failed": "yes"}, "retry_failed must be true or false"),
        ({"models": "no/uri/*/", "manifest": "no-uri", "input": "", "output": ""}, "one of"),
        ({"models": "", "manifest": "no-uri", "input": "", "output": ""}, "absolute path"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_run_request({**TEMPLATE, **changes}, EVENING)


def test_flags_that_are_not_set_are_no_part_of_a_plan() -> None:
    """The command line names all flags, and JSON none."""
    given = {**TEMPLATE, "force": False, "include_instance": False, "csv_header": False}
    assert parse_run_request(given, EVENING).plan.parameters == {"csv_header": False}


def test_a_manifest_that_changes_is_another_plan(tmp_path: Path) -> None:
    manifest = tmp_path / "night.jsonl"
    plans = []
    for content in ("{}", "{}", "{} "):
        manifest.write_text(content)
        plan = parse_run_request({"manifest": str(manifest)}, EVENING).plan
        plans.append(plan.as_json(plan.content(Storage())))
    assert plans[0] == plans[1] != plans[2]
