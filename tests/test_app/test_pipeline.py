import threading
from collections.abc import Iterator
from itertools import count

import pytest

from app.deadline import Deadline, StopSignal
from app.errors import Cancelled, OutOfTime, ShuttingDown
from app.log import JobContext, _current, job_context
from app.pipeline import Pipeline


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_items_come_in_order_through_several_steps() -> None:
    with Pipeline(Deadline.never()) as pipeline:
        numbers = pipeline.ahead(range(1000), depth=2, name="one")
        doubled = pipeline.ahead((2 * number for number in numbers), depth=3, name="two")
        assert list(doubled) == [2 * number for number in range(1000)]
    assert not {"one", "two"} & threads()


class Counting:
    """Numbers without end; `reached` is set once the fourth is made."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.reached = threading.Event()

    def __iter__(self) -> Iterator[int]:
        for number in count():
            self.made.append(number)
            if len(self.made) == 4:
                self.reached.set()
            yield number


def test_a_step_works_ahead_but_no_further_than_its_depth() -> None:
    numbers = Counting()
    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.ahead(numbers, depth=3, name="ahead")
        # Three are ready, a fourth is made and waits for its place.
        assert numbers.reached.wait(10)
        assert next(step) == 0
        assert len(numbers.made) <= 5


def test_items_that_are_heavy_enough_are_as_good_as_many() -> None:
    numbers = Counting()
    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.ahead(numbers, depth=99, name="step", weigh=lambda _: 10, most_weight=25)
        assert numbers.reached.wait(10)
        assert [next(step) for _ in range(100)] == list(range(100))
        assert len(numbers.made) <= 105


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.ahead(items(), depth=5, name="step")
        assert next(step) == 1
        with pytest.raises(ValueError, match="two"):
            next(step)


def test_an_error_in_the_first_step_reaches_the_last() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("far away")

    with Pipeline(Deadline.never()) as pipeline:
        first = pipeline.ahead(items(), depth=1, name="first")
        last = pipeline.ahead((item for item in first), depth=1, name="last")
        with pytest.raises(ValueError, match="far away"):
            list(last)


def test_leaving_early_ends_every_step() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.set()

    with Pipeline(Deadline.never()) as pipeline:
        first = pipeline.ahead(items(), depth=1, name="endless")
        last = pipeline.ahead((item for item in first), depth=1, name="waiting")
        assert next(last) == 0
    assert not {"endless", "waiting"} & threads()


def test_a_stream_that_is_left_early_does_not_look_complete_to_its_steps() -> None:
    completed = []

    def passed_on(items: Iterator[int]) -> Iterator[int]:
        yield from items
        completed.append(1)

    release = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        release.wait(20)
        yield 2

    with Pipeline(Deadline.never()) as pipeline:
        first = pipeline.ahead(slow(), depth=1, name="first")
        assert next(pipeline.ahead(passed_on(first), depth=1, name="last")) == 1
        threading.Timer(0.1, release.set).start()
    assert completed == []


def test_a_step_that_waits_for_nothing_is_told_when_time_is_up() -> None:
    release = threading.Event()

    def items() -> Iterator[int]:
        release.wait(20)
        yield 1

    with (
        pytest.raises(OutOfTime, match=r"time of 0.1 s is up"),
        Pipeline(Deadline.after(0.1)) as pipeline,
    ):
        try:
            next(pipeline.ahead(items(), depth=1, name="slow"))
        finally:
            release.set()


def test_a_job_that_is_told_to_stop_says_that_the_instance_ends() -> None:
    stop_signal = StopSignal()
    stop_signal.stop(ShuttingDown("the instance ends"))
    stop_signal.stop(Cancelled("a later reason"))
    with pytest.raises(ShuttingDown, match="the instance ends"):
        Deadline.after(100, stop_signal).remaining()


def test_threads_log_for_the_job_that_started_them() -> None:
    def items() -> Iterator[str]:
        context = _current.get()
        assert context is not None
        yield context.job_id

    with job_context(JobContext("j1")), Pipeline(Deadline.never()) as pipeline:
        assert list(pipeline.ahead(items(), depth=1, name="step")) == ["j1"]
