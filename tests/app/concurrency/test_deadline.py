import threading
from functools import partial

import pytest

from app.concurrency.deadline import Deadline, StopSignal
from app.concurrency.parallel import GoOn, all_in_order, run_all
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


def test_started_calls_run_side_by_side() -> None:
    """Each waits for the other, so one after the other they would never end."""
    together = threading.Barrier(2, timeout=10)
    deadline = Deadline.after(30)
    calls = [deadline.start(together.wait) for _ in range(2)]
    assert sorted(call.result() for call in calls) == [0, 1]
    assert all(call.has_ended for call in calls)


def test_what_a_call_brings_within_its_grace_counts() -> None:
    """A call that ends a moment after the deadline has not been in vain."""
    signal, released = StopSignal(), threading.Event()

    def work() -> str:
        released.wait(10)
        return "done"

    call = Deadline.after(30, signal).start(work)
    signal.stop(STOPPED)
    threading.Timer(0.1, released.set).start()
    assert call.result(grace_seconds=10) == "done"


def test_what_stops_a_signal_stops_those_below() -> None:
    above = StopSignal()
    below = StopSignal(above=above)
    other = StopSignal(above=above)
    other.stop(STOPPED)
    below.check()
    above.check()
    above.stop(STOPPED)
    with pytest.raises(ShuttingDown):
        below.check()
    with pytest.raises(ShuttingDown):
        StopSignal(above=above).check()


def test_results_come_in_order_and_the_first_error_is_raised() -> None:
    def call(number: int) -> int:
        # Later calls end first.
        threading.Event().wait(0.05 * (4 - number))
        if number > 1:
            raise ValueError(str(number))
        return number

    assert all_in_order([partial(call, 0), partial(call, 1)], workers=2) == [0, 1]
    with pytest.raises(ValueError, match="2"):
        all_in_order([partial(call, number) for number in range(4)], workers=4)
