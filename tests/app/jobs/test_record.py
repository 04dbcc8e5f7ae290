"""How a job's record changes, and that it survives being written."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.config.job_spec import parameters_of, parse_job_spec
from app.errors import InvalidArgument, ServerFailed
from app.jobs.record import Counts, JobRecord, JobState, check_job_id
from app.jobs.record_json import NoRecord, brief, decoded, encoded

NOW = datetime(2026, 1, 31, 23, 59, 59, 250_000, tzinfo=UTC)
PLACES = {"model": "gs://bkt/m/", "input": ["gs://bkt/i/"], "output": "gs://bkt/o/"}


def record(**changes: Any) -> JobRecord:
    whole = JobRecord(job_id="a", spec=parse_job_spec(PLACES), create_time=NOW, update_time=NOW)
    return replace(whole, **changes)


@pytest.mark.parametrize("job_id", ["a", "A-1_b", "0", "x" * 100])
def test_plain_names_are_ids(job_id: str) -> None:
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize(
    "job_id",
    ["", ".", "..", "a/b", "a.json", "../a", "a%2fb", "-a", "_a", "é", "a b", "a\n", "x" * 101],
)
def test_names_that_could_be_paths_are_no_ids(job_id: str) -> None:
    with pytest.raises(InvalidArgument, match="job_id must be"):
        check_job_id(job_id)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"signature_name": "s", "batch_size": 7, "on_error": "skip", "force": True},
        {"key_field": "k", "included_fields": ["a,b", ""], "include_instance": True},
        {"excluded_fields": ["x"], "input_format": "csv", "output_format": "csv"},
        {"csv_header": False, "csv_delimiter": "tab", "output_compression": "gzip"},
        {"constants": {"p": [1.5, None]}, "output_filter": ["y"], "timeout_seconds": 1.5},
        {"integer_strings": True, "input": ["gs://bkt/a", "gs://bkt/b*"]},
    ],
)
def test_parameters_of_a_spec_parse_to_it(changes: dict[str, Any]) -> None:
    spec = parse_job_spec({**PLACES, **changes})
    assert parse_job_spec(parameters_of(spec)) == spec


def test_a_record_survives_being_written() -> None:
    whole = record(
        spec=replace(parse_job_spec(PLACES), numbered_outputs=True),
        counts=Counts(1, 2, 3, 4),
        parent="projects/p/locations/l",
        resource={"displayName": "é"},
        warnings=("w",),
        tasks=2,
    ).taken("owner", NOW, 60)
    for one in (whole, whole.succeeded({"files": [{"a": 1}]}, NOW), record()):
        assert decoded(encoded(one)) == one
        assert brief(one) is not None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"job_id": "a"}', b"\xff"])
def test_other_files_are_no_records(content: bytes) -> None:
    with pytest.raises(NoRecord):
        decoded(content)


def test_briefly_a_report_counts_its_files() -> None:
    report = {"files": [{"input": "gs://bkt/i/a"}] * 10_000, "predictions": 7}
    text = brief(record().succeeded(report, NOW))
    assert text is not None
    told = decoded(text).report
    assert told is not None
    assert (told["files"], told["predictions"]) == (10_000, 7)


def test_what_does_not_fit_into_metadata_is_left_out() -> None:
    inputs = [f"gs://bkt/{number:0>100}" for number in range(100)]
    assert brief(record(spec=parse_job_spec({**PLACES, "input": inputs}))) is None


def test_a_lease_keeps_others_away_until_it_ends() -> None:
    taken = record().taken("one", NOW, 60)
    assert taken.state is JobState.RUNNING
    assert taken.start_time == NOW
    assert not taken.is_runnable(NOW + timedelta(seconds=59))
    assert taken.is_runnable(NOW + timedelta(seconds=60))
    renewed = taken.renewed(NOW + timedelta(seconds=50), 60, Counts(rows=5), 50.0)
    assert not renewed.is_runnable(NOW + timedelta(seconds=100))
    assert renewed.lease is not None
    assert renewed.lease.owner == "one"


def test_a_job_that_is_given_back_waits_until_it_is_due() -> None:
    error = ServerFailed("gone")
    given = (
        record()
        .taken("one", NOW, 60)
        .given_back(error, NOW, counts_as_attempt=True, pause_seconds=8)
    )
    assert (given.state, given.attempts, given.lease) == (JobState.QUEUED, 1, None)
    assert not given.is_runnable(NOW + timedelta(seconds=7))
    assert given.is_runnable(NOW + timedelta(seconds=8))
    excused = given.taken("two", NOW, 60).given_back(
        error, NOW, counts_as_attempt=False, pause_seconds=0
    )
    assert excused.attempts == 1


@pytest.mark.parametrize("state", [state for state in JobState if state.is_final])
def test_a_job_that_has_ended_never_runs(state: JobState) -> None:
    assert not record(state=state).is_runnable(NOW + timedelta(days=99))
