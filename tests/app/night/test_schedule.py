"""The order of jobs, and those that come back."""

from app.night.schedule import Schedule


def test_jobs_come_in_order_and_once() -> None:
    schedule = Schedule(["a", "b"])
    assert schedule.take() == "a"
    assert schedule.take() == "b"
    schedule.done()
    schedule.done()
    assert schedule.take() is None


def test_a_job_that_comes_back_is_taken_again() -> None:
    schedule = Schedule(["a", "b"])
    assert schedule.take() == "a"
    schedule.again("a", 0.05)
    assert schedule.take() == "b"
    schedule.done()
    assert schedule.take() == "a"
    schedule.done()
    assert schedule.take() is None


def test_no_job_begins_after_a_stop() -> None:
    schedule = Schedule(["a"])
    schedule.stop()
    assert schedule.take() is None
