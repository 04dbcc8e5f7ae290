"""The promise that every fault is held to.

An input file ends with its complete, correct output or with none and a reason; the same call
afterwards completes what is missing and repeats nothing; nothing is left behind.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from tests.fakes.error_details import details_of
from tests.faults.world import BIG, FILES, ROWS, SMALL_ROWS, World, put_inputs

WAIT_SECONDS = 20.0
_GONE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the call answers: a status, words of its message, and which outputs are there then.

    Files are published behind each other's prediction: the first one that is not `complete` has the
    error, and those after it are there or not. What is there is in the report. `complete` is None
    where it depends on the machine's speed.
    """

    code: int = 200
    words: str = ""
    complete: tuple[str, ...] | None = FILES


def nothing(_: World) -> None:
    """The fault is in the call, or there is nothing to undo."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `break_it` prepares the world; `undo` puts things right again."""

    name: str
    where: str
    break_it: Callable[[World], None]
    outcome: Outcome = field(default_factory=Outcome)
    undo: Callable[[World], None] = nothing
    # Makes the call, where that is more than a call.
    call: Callable[[World], requests.Response | None] = lambda world: world.call()
    # Whether the fault lies in the call itself, so that a second call meets it again.
    lasting: bool = False
    leaves: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}, {self.where}"


def run(fault: Fault, world: World, undisturbed: dict[str, bytes]) -> str:
    """Holds the promise against one fault; returns what happened, in words."""
    world.clear()
    fault.break_it(world)
    answer = fault.call(world)
    disturbances = world.proxy.hits()
    if world.proxy.rules:
        assert disturbances, "the fault was never met"
    unread = list(world.orders.glob("*.json"))
    assert not unread or fault.undo is not nothing, "an order was never read"
    # What a killed worker has sent may still arrive.
    world.proxy.await_idle()
    there = world.outputs()
    for name, content in there.items():
        assert content == undisturbed[name], f"{name} is not what an undisturbed job writes"
    told = "the worker is gone"
    if answer is not None:
        told = _judge(answer, fault.outcome, set(there))
    fault.undo(world)
    world.proxy.calm_down()
    for file in world.orders.iterdir():
        file.unlink()
    if not fault.lasting:
        _complete(world, undisturbed, already=set(there), was_killed=answer is None)
    _await_nothing_left(fault, world)
    return told


def _await_nothing_left(fault: Fault, world: World) -> None:
    """A worker that has just come asks the model server program for its flags."""
    for _ in range(int(_GONE_SECONDS * 10)):
        left = world.leftovers()
        if all(fault.leaves and fault.leaves in thing for thing in left):
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"left behind: {left}")


def _judge(answer: requests.Response, outcome: Outcome, there: set[str]) -> str:
    body = answer.json()
    if outcome.code == 200:
        assert answer.status_code == 200, answer.text
        assert body["instances"] == body["predictions"] == ROWS + 2 * SMALL_ROWS
        assert there == set(FILES)
        return "completed"
    assert answer.status_code == outcome.code, answer.text
    message = body["error"]["message"]
    assert outcome.words in message, message
    assert "upload_id" not in answer.text
    assert "/tmp/" not in message
    if outcome.complete is None:
        assert there != set(FILES)
    else:
        assert set(outcome.complete) <= there, there
        assert next(name for name in FILES if name not in outcome.complete) not in there, there
    done = {file["output"].rpartition("/")[2] for file in details_of(body)["files"]}
    assert done == there
    if outcome.code in (409, 502, 503):
        assert "Retry-After" in answer.headers
    return f"{outcome.code} {body['error']['status']}"


def _complete(
    world: World, undisturbed: dict[str, bytes], *, already: set[str], was_killed: bool
) -> None:
    """The same call makes what is missing. A killed one may not have described what it made."""
    answer = _call_until_free(world)
    assert answer.status_code == 200, answer.text
    states = {file["output"].rpartition("/")[2]: file["state"] for file in answer.json()["files"]}
    reused = {name for name, state in states.items() if state == "REUSED"}
    assert reused <= already if was_killed else reused == already
    assert world.outputs() == undisturbed


def _call_until_free(world: World) -> requests.Response:
    """A job that a dead caller has left may still run for a moment, or a worker begin."""
    wait = threading.Event()
    for _ in range(int(WAIT_SECONDS * 10)):
        try:
            answer = world.call()
        except requests.ConnectionError:
            wait.wait(0.1)
            continue
        if answer.status_code != 429:
            return answer
        wait.wait(0.1)
    raise AssertionError("the instance did not become free")


def restore_input(world: World) -> None:
    put_inputs(world.bucket, BIG)
