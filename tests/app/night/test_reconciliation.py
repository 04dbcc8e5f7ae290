"""Every name of a run is in exactly one state."""

from dataclasses import replace
from typing import Any

import pytest

from app.errors import InvalidArgument, NotFound
from app.jobs.record import JobRecord, JobState
from app.night.frozen_manifest import manifest_json, parse_manifest
from app.night.reconciliation import Outcome, counted, is_success
from app.night.report import report_of
from app.night.run_files import check_run_name
from app.night.survey import Readiness
from tests.app.jobs.test_record import NOW, record
from tests.app.night.night_values import frozen, outcomes_of, surveyed

FILE = {"state": "PREDICTED"}
REUSED = {"state": "REUSED"}


def report(*files: dict[str, str]) -> dict[str, Any]:
    return {"files": list(files), "instances": 2, "errors": 0}


def brief(reused: int) -> dict[str, Any]:
    return {"files": 2, "files_reused": reused, "instances": 2, "errors": 0}


@pytest.mark.parametrize(
    ("found", "readiness", "outcome"),
    [
        (record().succeeded(report(FILE, REUSED), NOW), Readiness.READY, Outcome.SUCCEEDED),
        (record().succeeded(report(REUSED), NOW), Readiness.READY, Outcome.REUSED),
        (record().succeeded({"files": 2, "files_reused": 2}, NOW), Readiness.READY, Outcome.REUSED),
        (
            record().succeeded({"files": 2, "files_reused": 1}, NOW),
            Readiness.READY,
            Outcome.SUCCEEDED,
        ),
        (record().failed(NotFound("gone"), NOW), Readiness.READY, Outcome.FAILED),
        (record(state=JobState.EXPIRED), Readiness.READY, Outcome.FAILED),
        (record(state=JobState.CANCELLED), Readiness.READY, Outcome.CANCELLED),
        (record().taken("owner", NOW, 60), Readiness.READY, Outcome.RUNNING),
        (record(), Readiness.READY, Outcome.NEVER_RAN),
        (None, Readiness.READY, Outcome.NEVER_RAN),
        (None, Readiness.NO_INPUT, Outcome.NO_INPUT),
        (None, Readiness.MISSING_MODEL, Outcome.MISSING_MODEL),
        (record(), Readiness.NO_INPUT, Outcome.NEVER_RAN),
    ],
)
def test_a_job_is_in_one_state(
    found: JobRecord | None, readiness: Readiness, outcome: Outcome
) -> None:
    manifest = frozen(surveyed("a", readiness, message="why"), surveyed("b"))
    outcomes = outcomes_of(manifest, [found, None])
    assert [one.outcome for one in outcomes] == [outcome, Outcome.NEVER_RAN]
    assert sum(counted(outcomes).values()) == 2
    body = report_of(manifest, outcomes, NOW, is_complete=True)
    assert (body["total"], sum(body["states"].values())) == (2, 2)
    assert not is_success(outcomes, require_input=False)
    fine = outcome in (Outcome.SUCCEEDED, Outcome.REUSED)
    assert is_success(outcomes[:1], require_input=True) is fine
    assert is_success(outcomes[:1], require_input=False) is (fine or outcome is Outcome.NO_INPUT)


def test_ids_follow_from_names() -> None:
    one = surveyed("é/../x")
    manifest = frozen(one)
    assert manifest.job_id(one.job) == manifest.job_id(replace(one.job))
    assert manifest.job_id(one.job) != manifest.job_id(replace(one.job, name="y"))
    assert check_run_name(manifest.job_id(one.job))


def test_a_frozen_manifest_is_read_as_it_was_written() -> None:
    job = surveyed("a", Readiness.NO_INPUT, files=2, size=7, message="why")
    manifest = frozen(job, plan={"x": [1]}, compared_with="before", require_input=True)
    assert parse_manifest(manifest_json(manifest)) == manifest
    with pytest.raises(KeyError):
        parse_manifest({"run": "of an earlier version"})


@pytest.mark.parametrize("run", ["", "../a", "a/b", "a.b", "x" * 72])
def test_other_names_are_no_runs(run: str) -> None:
    with pytest.raises(InvalidArgument):
        check_run_name(run)
