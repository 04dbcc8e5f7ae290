import threading
from collections.abc import Iterator
from itertools import count

import pytest

from app.concurrency.deadline import Deadline, StopSignal
from app.concurrency.pipeline import Pipeline
from app.errors import Cancelled, DeadlineExceeded, ShuttingDown
from app.telemetry.log import LogContext, current_job, job_context


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_items_come_in_order_through_several_steps() -> None:
    with Pipeline(Deadline.never()) as pipeline:
        numbers = pipeline.prefetch(range(1000), name="one", max_items=2)
        doubled = pipeline.prefetch((2 * number for number in numbers), name="two", max_items=3)
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


def test_step_prefetches_up_to_its_limit() -> None:
    """A step works ahead but no further than its depth."""
    numbers = Counting()
    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.prefetch(numbers, name="ahead", max_items=3)
        # Three are ready, a fourth is made and waits for its place.
        assert numbers.reached.wait(10)
        assert next(step) == 0
        assert len(numbers.made) <= 5


def test_items_that_are_heavy_enough_are_as_good_as_many() -> None:
    numbers = Counting()
    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.prefetch(
            numbers, name="step", max_items=99, max_bytes=25, size_of=lambda _: 10
        )
        assert numbers.reached.wait(10)
        assert [next(step) for _ in range(100)] == list(range(100))
        assert len(numbers.made) <= 105


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    with Pipeline(Deadline.never()) as pipeline:
        step = pipeline.prefetch(items(), name="step", max_items=5)
        assert next(step) == 1
        with pytest.raises(ValueError, match="two"):
            next(step)


def test_an_error_in_the_first_step_reaches_the_last() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("far away")

    with Pipeline(Deadline.never()) as pipeline:
        first = pipeline.prefetch(items(), name="first", max_items=1)
        last = pipeline.prefetch((item for item in first), name="last", max_items=1)
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
        first = pipeline.prefetch(items(), name="endless", max_items=1)
        last = pipeline.prefetch((item for item in first), name="waiting", max_items=1)
        assert next(last) == 0
    assert not {"endless", "waiting"} & threads()


def test_stream_left_early_looks_incomplete() -> None:
    """A stream that is left early does not look complete to its steps."""
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
        first = pipeline.prefetch(slow(), name="first", max_items=1)
        assert next(pipeline.prefetch(passed_on(first), name="last", max_items=1)) == 1
        threading.Timer(0.1, release.set).start()
    assert completed == []


def test_waiting_step_is_told_when_time_is_up() -> None:
    """A step that waits for nothing is told when time is up."""
    release = threading.Event()

    def items() -> Iterator[int]:
        release.wait(20)
        yield 1

    with (
        pytest.raises(DeadlineExceeded, match=r"time of 0.1 s is up"),
        Pipeline(Deadline.after(0.1)) as pipeline,
    ):
        try:
            next(pipeline.prefetch(items(), name="slow", max_items=1))
        finally:
            release.set()


def test_stopped_job_says_that_instance_ends() -> None:
    """A job that is told to stop says that the instance ends."""
    stop_signal = StopSignal()
    stop_signal.stop(ShuttingDown("the instance ends"))
    stop_signal.stop(Cancelled("a later reason"))
    with pytest.raises(ShuttingDown, match="the instance ends"):
        Deadline.after(100, stop_signal).remaining()


def test_threads_log_for_the_job_that_started_them() -> None:
    def items() -> Iterator[str]:
        context = current_job()
        assert context is not None
        yield context.job_id

    with job_context(LogContext("j1")), Pipeline(Deadline.never()) as pipeline:
        assert list(pipeline.prefetch(items(), name="step", max_items=1)) == ["j1"]
