"""Faults of the model server program."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.model_server import POISON
from tests.faults.promise import Fault, Outcome, restore_input
from tests.faults.world import BIG, ROWS, World, row


def orders(*orders: dict[str, Any]) -> Callable[[World], None]:
    return lambda world: world.order(*orders)


_POISONED = {"poisoned": True}


def _poison(world: World) -> None:
    """A row in the middle of the large input on which servers die."""
    lines = [row(number) for number in range(ROWS)]
    lines[ROWS // 2] = row(0).replace("[0", f"[{POISON:g}", 1)
    world.bucket.put(f"in/{BIG}", "".join(f"{line}\n" for line in lines))


def _poisoned(*orders: dict[str, Any]) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        _poison(world)
        world.order(*orders)

    return break_it


def server_faults() -> Iterator[Fault]:
    for what in ("dies", "exits", "crashes", "hangs", "answers_short"):
        for where, at in (("the first call", 1), ("a middle call", 4)):
            yield Fault(f"the server {what}", where, orders({"what": what, "at": at}))
    yield Fault(
        "the server dies twice",
        "different calls",
        orders({"what": "dies", "at": 3}, {"what": "dies", "at": 6}),
    )
    yield Fault("the server ends", "its start", orders({"at_start": "exits"}))
    yield Fault("the server is killed", "its start", orders({"at_start": "dies"}))
    yield Fault("the server hangs", "its start", orders({"at_start": "hangs"}))
    yield Fault(
        "the server floods its output", "a middle call", orders({"what": "floods", "at": 3})
    )
    yield Fault("the server ignores SIGTERM", "its end", orders({"ignores_sigterm": True}))
    yield Fault("the server forks", "its start", orders({"forks": True}))
    yield Fault(
        "the server dies",
        "three times",
        orders({"what": "dies", "at": 2}, {"what": "dies", "at": 7}, {"what": "dies", "at": 1}),
        Outcome(503, "was killed by SIGKILL while it was serving", complete=("a.jsonl",)),
    )
    yield Fault(
        "the server ends",
        "every start",
        orders(*[{"at_start": "exits"}] * 3),
        Outcome(503, "ended with exit status 3 before it was ready", complete=()),
    )
    for code in ("INTERNAL", "RESOURCE_EXHAUSTED", "UNKNOWN"):
        yield Fault(
            f"the server refuses with {code}",
            "one batch",
            _poisoned({"what": "refuses", "code": code, **_POISONED}),
            Outcome(
                422,
                f"line {ROWS // 2 + 1}: the model failed on it: the model server answered {code}",
                complete=("a.jsonl",),
            ),
            undo=restore_input,
        )
    deadly = {"what": "dies", **_POISONED}
    yield Fault(
        "a row kills every server",
        "a middle batch",
        _poisoned(deadly, deadly, deadly),
        Outcome(422, "the model server died twice on the batch", complete=("a.jsonl",)),
        undo=restore_input,
    )
