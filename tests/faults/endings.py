"""Ends of a job from outside: signals, callers that hang up, and time that is up."""

import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import requests

from tests.faults import disturbances
from tests.faults.matching import always, is_, once
from tests.faults.promise import WAIT_SECONDS, Fault, Outcome, nothing
from tests.faults.server_faults import orders
from tests.faults.storage_proxy import Rule
from tests.faults.world import BIG, FILES, World

# About as long as an undisturbed job takes.
_JOB_SECONDS = 0.8
_RANDOM_MOMENTS = 4


def _during_the_large_file(world: World, then: Callable[[], None]) -> "Future[requests.Response]":
    """Calls, and does something while the second chunk of the large output is on its way."""
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        go_on.wait(10)

    matches = once(is_("chunk", BIG, 1))
    world.proxy.rules.append(Rule(matches, disturbances.does_first(wait)))
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(world.call)
    pool.shutdown(wait=False)
    assert reached.wait(WAIT_SECONDS)
    then()
    go_on.set()
    return answer


def _worker(world: World) -> psutil.Process:
    (worker,) = psutil.Process(world.service.process.pid).children()
    return worker


def _kill_the_worker(world: World) -> None:
    worker = _worker(world)
    servers = worker.children(recursive=True)
    answer = _during_the_large_file(world, worker.kill)
    assert isinstance(answer.exception(WAIT_SECONDS), requests.ConnectionError)
    _, alive = psutil.wait_procs([*servers, worker], timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def _terminate_the_worker(world: World) -> requests.Response:
    worker = _worker(world)
    answer = _during_the_large_file(world, lambda: worker.send_signal(signal.SIGTERM))
    response = answer.result(WAIT_SECONDS)
    psutil.wait_procs([worker], timeout=8)
    assert not worker.is_running()
    return response


def _at_a_random_moment(number: signal.Signals) -> Callable[[World], None]:
    def call(world: World) -> None:
        worker = _worker(world)
        servers = worker.children(recursive=True)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(world.call)
            threading.Event().wait(random.uniform(0.0, _JOB_SECONDS))
            worker.send_signal(number)
            error = answer.exception(WAIT_SECONDS)
        if error is None:
            assert answer.result().status_code in (200, 503), answer.result().text
        else:
            assert isinstance(error, requests.ConnectionError)
        _, alive = psutil.wait_procs([*servers, worker], timeout=8)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []

    return call


def _hang_up(world: World) -> None:
    """The caller is gone; the job goes on to its end."""
    body = json.dumps(world.parameters())
    try:
        requests.post(
            world.service.url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=(5, 0.1),
        )
    except requests.ReadTimeout:
        pass
    else:
        raise AssertionError("the job was over before the caller hung up")
    wait = threading.Event()
    for _ in range(int(WAIT_SECONDS * 10)):
        if set(world.outputs()) == set(FILES):
            return
        wait.wait(0.1)
    raise AssertionError("the job did not go on to its end")


def endings() -> Iterator[Fault]:
    for number in (signal.SIGKILL, signal.SIGTERM):
        for moment in range(1, _RANDOM_MOMENTS + 1):
            yield Fault(
                f"{number.name} to the worker",
                f"a random moment, {moment}",
                nothing,
                call=_at_a_random_moment(number),
                leaves="upload" if number == signal.SIGKILL else "",
            )
    yield Fault(
        "SIGKILL to the worker",
        "a middle chunk of an upload",
        nothing,
        call=_kill_the_worker,
        leaves="upload",
    )
    yield Fault(
        "SIGTERM to the worker",
        "a middle chunk of an upload",
        nothing,
        Outcome(503, "shutting down", complete=("a.jsonl",)),
        call=_terminate_the_worker,
    )
    yield Fault(
        "the caller hangs up",
        "while the server starts",
        nothing,
        call=_hang_up,
    )
    yield Fault(
        "out of time",
        "while the server hangs in a call",
        # The model does not say how long its answers are, so calls begin with two rows each.
        orders({"what": "hangs", "at": 5}),
        Outcome(504, "the job's time of 3.8 s is up", complete=None),
        # A little less than CALL_TIMEOUT_SECONDS of four calls, after which the server is replaced.
        call=lambda world: world.call(timeout_seconds=3.8),
    )
    yield Fault(
        "out of time",
        "while storage says 503",
        always(is_("read", BIG), disturbances.answers(503)),
        Outcome(504, "the job's time of 2.6 s is up", complete=None),
        # Storage is retried for 2.5 s from when the server has started.
        call=lambda world: world.call(timeout_seconds=2.6),
    )
    yield Fault(
        "out of time",
        "while the server starts",
        orders({"at_start": "hangs"}),
        Outcome(504, "the job's time of 2 s is up", complete=()),
        call=lambda world: world.call(timeout_seconds=2),
    )
