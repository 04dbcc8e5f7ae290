import threading

import pytest

from app.concurrency.deadline import Deadline
from app.concurrency.parallel import GoOn, run_all
from app.errors import DeadlineExceeded, ShuttingDown

STOPPED = ShuttingDown("stopped")


def test_work_within_the_deadline_gives_its_result() -> None:
    assert Deadline.after(30).run(lambda: 7) == 7


def test_work_that_fails_raises_its_own_error() -> None:
    def fail() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        Deadline.after(30).run(fail)


def test_work_that_is_stuck_is_left_when_time_is_up() -> None:
    release = threading.Event()
    try:
        with pytest.raises(DeadlineExceeded):
            Deadline.after(0.05).run(lambda: release.wait(20))
    finally:
        release.set()


def test_work_heeding_deadline_has_ended() -> None:
    """Work that heeds the deadline has ended when it is left."""
    deadline = Deadline.after(100)
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            started.set()
            while True:
                deadline.remaining()
                ended.wait(0.01)
        finally:
            ended.set()

    def stop_once_started() -> None:
        if started.wait(10):
            deadline.stop_signal.stop(STOPPED)

    threading.Thread(target=stop_once_started).start()
    with pytest.raises(ShuttingDown):
        deadline.run(work)
    assert ended.is_set()


def test_first_error_of_copies_ends_others() -> None:
    """The first error of several copies ends the others."""
    begun = threading.Event()
    abandoned = []

    def fails(_: GoOn) -> None:
        assert begun.wait(10)
        raise ValueError("first")

    def goes_on(go_on: GoOn) -> None:
        begun.set()
        try:
            for _ in range(2000):
                go_on()
                threading.Event().wait(0.01)
        except Exception:
            abandoned.append(1)
            raise

    with pytest.raises(ValueError, match="first"):
        run_all([goes_on, fails], workers=2, check=lambda: None)
    assert abandoned == [1]


def test_what_the_check_raises_ends_all_copies() -> None:
    def check() -> None:
        raise DeadlineExceeded("over")

    with pytest.raises(DeadlineExceeded):
        run_all([lambda go_on: go_on()] * 5, workers=2, check=check)
