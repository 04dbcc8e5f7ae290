"""Calls in parallel: tasks that stop together on the first error, and calls with results."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from functools import partial
from typing import TypeVar

T = TypeVar("T")

GoOn = Callable[[], None]


class _Abandoned(Exception):
    """Another task failed, so this one stops."""


def run_all(
    tasks: Iterable[Callable[[GoOn], None]], *, workers: int, check: Callable[[], object]
) -> None:
    """Run the tasks in `workers` threads; raise the first error after all have ended.

    Each task gets a function to call regularly. It raises what `check` raises, and also when
    another task has failed.
    """
    failed = threading.Event()

    def go_on() -> None:
        if failed.is_set():
            raise _Abandoned
        check()

    with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
        running = [pool.submit(task, go_on) for task in tasks]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def all_in_order(calls: Sequence[Callable[[], T]], *, workers: int) -> list[T]:
    """The results of all calls, in their order. Raises the error of the first call that has one."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(workers, thread_name_prefix="look-up") as pool:
        running = [pool.submit(partial(copy_context().run, call)) for call in calls]
        try:
            return [call.result() for call in running]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
