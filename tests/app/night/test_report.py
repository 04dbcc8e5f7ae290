"""Reports: failures by cause, the run before, and the page."""

import base64
import hashlib
import json
import re
import shlex
from typing import Any

import pytest

from app.config.job_spec import parse_job_spec
from app.errors import InvalidInstance, JobError, NotFound
from app.jobs.record import JobRecord
from app.jobs.record_json import brief, decoded
from app.night.report import command_of, failures_by_cause, report_of
from app.night.report_page import policy_header, report_page, verdict
from app.night.survey import Readiness
from tests.app.jobs.test_record import NOW, PLACES, record
from tests.app.night.night_values import frozen, outcomes_of, surveyed


def done(rows: int = 10, seconds: float = 1.0) -> JobRecord:
    report = {"files": 1, "instances": rows, "errors": 1, "seconds": {"predict": seconds}}
    begun = record().taken("owner", NOW, 60).renewed(NOW, 60, record().counts, seconds)
    ended = begun.succeeded({**report, "files": [{"state": "PREDICTED"}]}, NOW)
    text = brief(ended)
    assert text is not None
    return decoded(text)


def failed(error: JobError) -> JobRecord:
    """As it is listed."""
    text = brief(record().failed(error, NOW))
    assert text is not None
    return decoded(text)


def test_failures_that_differ_in_names_and_numbers_are_one_cause() -> None:
    errors = [
        InvalidInstance("gs://bkt/in/a.jsonl: line 7: expected 3 values, it has 4"),
        NotFound("there is no gs://bkt/x"),
        InvalidInstance("gs://bkt/in/b.jsonl: line 12,000: expected 3 values, it has 4"),
    ]
    manifest = frozen(*map(surveyed, "abc"))
    causes = failures_by_cause(outcomes_of(manifest, [failed(error) for error in errors]))
    assert [(cause["reason"], cause["names"]) for cause in causes] == [
        ("INVALID_INSTANCE", ["a", "c"]),
        ("NOT_FOUND", ["b"]),
    ]
    assert causes[0]["message"] == errors[0].message


def test_a_command_runs_a_job_again() -> None:
    given: dict[str, Any] = {
        "on_error": "skip",
        "force": True,
        "constants": {"p": 1.5},
        "csv_header": False,
    }
    given["output_filter"] = ["y", "a,b"]
    spec = parse_job_spec({**PLACES, **given, "key_field": "a b"})
    one = surveyed("a")
    (outcome,) = outcomes_of(frozen(one), [None])
    job = type(one.job)("a", spec)
    command = command_of(type(outcome)(type(one)(job, Readiness.READY), "", outcome.outcome, None))
    words = shlex.split(command)
    assert words[:4] == ["embedded-tf", "predict", "--model", "gs://bkt/m/"]
    assert words[words.index("--key-field") + 1] == "a b"
    assert words[words.index("--constants") + 1] == '{"p":1.5}'
    assert words[words.index("--csv-header") + 1] == "False"
    assert "--force" in words
    assert words[words.index("--output-filter") + 1] == 'y,"a,b"'


def test_a_run_is_compared_with_the_one_before() -> None:
    before = frozen(*map(surveyed, ("a", "b", "c", "gone", "mended", "silent")))
    records = [done(100), done(100, 2.0), done(), done(), failed(NotFound("x")), done()]
    previous = report_of(before, outcomes_of(before, records), NOW)
    jobs = [surveyed(name) for name in ("a", "b", "c", "mended", "new")]
    now = frozen(*jobs, surveyed("silent", Readiness.NO_INPUT), compared_with="before")
    records = [done(151), done(90, 3.5), failed(NotFound("x")), done(), done()]
    report = report_of(now, outcomes_of(now, [*records, None]), NOW, previous=previous)
    assert report["compared_with"] == {
        "run": "before",
        "new": [{"name": "new"}],
        "gone": [{"name": "gone"}],
        "newly_bad": [{"name": "c", "before": "succeeded", "now": "failed"}],
        "mended": [{"name": "mended", "before": "failed", "now": "succeeded"}],
        "no_input_now": [{"name": "silent", "before": "succeeded", "now": "no input"}],
        "slower": [{"name": "b", "before": 2.0, "now": 3.5}],
        "rows_changed": [{"name": "a", "before": 100, "now": 151}],
    }


@pytest.mark.parametrize(
    ("records", "complete", "words"),
    [
        ([done(), done()], True, "All 2 jobs are done"),
        ([done(), None], True, "1 of 2 jobs are not done: 1 never ran"),
        ([done(), failed(NotFound("x"))], True, "1 of 2 jobs are not done: 1 failed"),
        ([done(), None], False, "1 of 2 jobs have ended"),
    ],
)
def test_the_verdict_comes_first(
    records: list[JobRecord | None], words: str, *, complete: bool
) -> None:
    manifest = frozen(*map(surveyed, "ab"))
    report = report_of(manifest, outcomes_of(manifest, records), NOW, is_complete=complete)
    assert verdict(report) == words


def page_of(name: str) -> tuple[str, dict[str, Any]]:
    manifest = frozen(surveyed(name), surveyed("b"))
    outcomes = outcomes_of(manifest, [failed(NotFound(f"<b>{name}")), done()])
    page = report_page(report_of(manifest, outcomes, NOW), project="p").decode()
    found = re.search('<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return page, json.loads(found[1])


def test_names_cannot_leave_the_data() -> None:
    name = "</script><script>alert(1)</script><!--<script>"
    page, data = page_of(name)
    assert name not in page
    assert data["jobs"][0][0] == name
    assert page.count("<script") == 2


def test_the_page_allows_only_its_own_script_and_style() -> None:
    page, _ = page_of("a")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page
        assert f"{tag}-src 'sha256-{digest}'" in policy_header()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_a_page_of_10_000_jobs_is_below_5_megabytes() -> None:
    manifest = frozen(*(surveyed(f"site-{number:05}-of-a-long-name") for number in range(10_000)))
    report = report_of(manifest, outcomes_of(manifest, [done()] * 10_000), NOW)
    assert len(report_page(report)) < 5_000_000


def test_a_job_that_is_reused_keeps_the_time_that_its_outputs_took() -> None:
    made = done(seconds=2.0)
    again = made.reopened(NOW).taken("owner", NOW, 60).renewed(NOW, 60, made.counts, 0.1)
    reused = again.succeeded({"files": [{"state": "REUSED"}], "instances": 10, "errors": 0}, NOW)
    assert (reused.run_seconds, reused.made_seconds) == (0.1, 2.0)
    before, now = frozen(surveyed("a")), frozen(surveyed("a"), compared_with="before")
    previous = report_of(before, outcomes_of(before, [reused]), NOW)
    report = report_of(now, outcomes_of(now, [done(seconds=4.0)]), NOW, previous=previous)
    assert report["compared_with"]["slower"] == [{"name": "a", "before": 2.0, "now": 4.0}]


def test_a_report_of_another_kind_is_no_comparison() -> None:
    manifest = frozen(surveyed("a"), compared_with="before")
    outcomes = outcomes_of(manifest, [done()])
    others: list[dict[str, Any]] = [{}, {"jobs": [{}]}, {"jobs": 7}]
    for previous in others:
        assert "compared_with" not in report_of(manifest, outcomes, NOW, previous=previous)
