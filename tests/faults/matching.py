"""Which requests to storage a fault meets, and how often."""

import threading
from collections.abc import Callable

from tests.faults.storage_proxy import Disturbance, Operation, Request, Rule
from tests.faults.world import BIG, World


def is_(operation: Operation, name: str = "", count: int | None = None) -> Callable[..., bool]:
    def matches(request: Request) -> bool:
        return (
            request.operation == operation
            and request.name.endswith(name)
            and (count is None or request.count == count)
        )

    return matches


def is_last_chunk(request: Request) -> bool:
    return request.operation == "chunk" and request.is_last_chunk


def once(matches: Callable[[Request], bool]) -> Callable[[Request], bool]:
    met = threading.Event()

    def matches_once(request: Request) -> bool:
        if met.is_set() or not matches(request):
            return False
        met.set()
        return True

    return matches_once


def breaks(matches: Callable[[Request], bool], disturb: Disturbance) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        world.proxy.rules.append(Rule(once(matches), disturb))

    return break_it


def always(matches: Callable[[Request], bool], disturb: Disturbance) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        world.proxy.rules.append(Rule(matches, disturb))

    return break_it


LAST_CHUNK = is_last_chunk
DESCRIBING = is_("describe", BIG)
REQUESTS: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("listing the inputs", is_("list", "in/")),
    ("listing the model", is_("list", "models/zoo/")),
    ("listing the outputs", is_("list", "out/")),
    ("fetching the model", is_("read", "saved_model.pb")),
    ("reading a small input", is_("read", "a.jsonl")),
    ("writing a small output", is_("insert", "a.jsonl")),
    ("beginning an upload", is_("begin", BIG)),
    ("the first chunk of an upload", is_("chunk", BIG, 0)),
    ("a middle chunk of an upload", is_("chunk", BIG, 1)),
    ("the last chunk of an upload", LAST_CHUNK),
    ("describing an output", DESCRIBING),
)
