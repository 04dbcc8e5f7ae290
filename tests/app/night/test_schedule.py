"""The order of jobs, those that come back, and those that come later."""

from app.jobs.record import JobRecord
from app.night.schedule import Schedule
from tests.app.jobs.test_record import record

A, B, C = (record(job_id=name) for name in "abc")


def test_jobs_come_in_order_and_once() -> None:
    schedule = Schedule([A, B])
    assert schedule.take() == A
    assert schedule.take() == B
    schedule.done()
    schedule.done()
    assert schedule.take() is None


def test_a_job_that_comes_back_is_taken_again() -> None:
    schedule = Schedule([A, B])
    assert schedule.take() == A
    schedule.again(A, 0.05)
    assert schedule.take() == B
    schedule.done()
    assert schedule.take() == A
    schedule.done()
    assert schedule.take() is None


def test_more_jobs_come_once_there_are_no_others() -> None:
    more: list[list[tuple[JobRecord, float]]] = [[(C, 0.05), (B, 0.0)], []]
    schedule = Schedule([A], lambda: more.pop(0))
    assert schedule.take() == A
    schedule.done()
    assert len(more) == 2
    assert schedule.take() == B
    assert schedule.take() == C
    schedule.done()
    schedule.done()
    assert schedule.take() is None
    assert more == []


def test_no_job_begins_after_a_stop() -> None:
    schedule = Schedule([A], lambda: [(B, 0.0)])
    schedule.stop()
    assert schedule.take() is None
