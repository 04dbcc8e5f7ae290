"""A model server that dies is replaced, and the batches that were in flight are sent again."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.concurrency.deadline import Deadline, StopSignal
from app.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInstance,
    ServerFailed,
    ShuttingDown,
    StorageFailed,
)
from app.serving.supervised_server import (
    Call,
    CallAbandoned,
    PoisonBatch,
    SupervisedServer,
    Tensors,
)
from tests.faults.model_server import POISON, PROGRAM_FILE
from tfserving_launcher import (
    ModelServer,
    PredictError,
    Program,
    ServerExited,
    SignatureNotFound,
    find_program,
)

Start = Callable[..., AbstractContextManager[SupervisedServer]]


@pytest.fixture
def launches() -> list[ModelServer]:
    """All servers that were launched in a test."""
    return []


def _stop_kept(server: SupervisedServer) -> None:
    if server.kept is not None:
        server.kept.__exit__(None, None, None)


@pytest.fixture
def start(models: Path, tmp_path: Path, launches: list[ModelServer]) -> Start:
    """Starts servers that misbehave as `orders` say, one order for each; then they behave."""
    folder = tmp_path / "orders"
    folder.mkdir()
    found = find_program()
    (tmp_path / PROGRAM_FILE).write_text(json.dumps(found.command))
    command = (sys.executable, "-m", "tests.faults.model_server", str(folder))
    program = Program(command, "a test", found.usage)

    def launch() -> ModelServer:
        # The program takes its orders away, which a confined one may not.
        server = ModelServer(models / "zoo" / "1", program=program, confine=False)
        launches.append(server)
        return server

    @contextmanager
    def start_with(
        *orders: dict[str, Any],
        restarts: int = 2,
        call_timeout_seconds: float = 60.0,
        deadline: Deadline | None = None,
    ) -> Iterator[SupervisedServer]:
        for number, order in enumerate(orders):
            (folder / f"{number}.json").write_text(json.dumps(order))
        with (
            ExitStack() as stack,
            SupervisedServer(
                launch,
                loaded=lambda: None,
                restarts=restarts,
                call_timeout_seconds=call_timeout_seconds,
                deadline=deadline or Deadline.never(),
            ) as server,
        ):
            stack.callback(_stop_kept, server)
            server.signature("vector_float32")
            yield server

    return start_with


def batch(*numbers: float) -> Call:
    rows = np.array([[number, 0.0] for number in numbers], np.float32)
    return Call({"x": rows}, 2**20)


def firsts(outputs: Tensors) -> list[float]:
    return [float(row[0]) for row in outputs["y"]]


def test_answers_come_in_order(start: Start, launches: list[ModelServer]) -> None:
    with start() as server:
        calls = [server.submit(batch(number, number)) for number in range(6)]
        answers = [firsts(server.result(call)) for call in calls]
        alone = [firsts(server.predict(batch(number, number))) for number in range(6)]
    assert answers == alone
    assert len({tuple(answer) for answer in answers}) == 6
    assert len(launches) == 1


@pytest.mark.parametrize("what", ["dies", "exits", "crashes"])
def test_batches_in_flight_survive(what: str, start: Start, launches: list[ModelServer]) -> None:
    with start({"what": what, "at": 3}) as server:
        calls = [server.submit(batch(number)) for number in range(6)]
        answers = [firsts(server.result(call)) for call in calls]
        assert answers == [firsts(server.predict(batch(number))) for number in range(6)]
    assert len(launches) == 2


def test_an_old_answer_sends_nothing_ahead(start: Start, launches: list[ModelServer]) -> None:
    """After a crash, calls go one by one until one that was sent after it is answered."""
    with start({"what": "dies", "poisoned": True}) as server:
        old = server.submit(batch(1.0))
        assert old.future is not None
        old.future.result()
        server.predict(batch(POISON))
        server.result(old)
        new = server.submit(batch(2.0))
        assert new.future is None
        server.result(new)
        assert server.submit(batch(3.0)).future is not None
    assert len(launches) == 2


def test_poison_batch_is_named_others_go_on(start: Start, launches: list[ModelServer]) -> None:
    poisoned = {"what": "dies", "poisoned": True}
    with start(poisoned, poisoned) as server:
        calls = [server.submit(batch(number)) for number in (1.0, POISON, 2.0)]
        server.result(calls[0])
        with pytest.raises(PoisonBatch, match="SIGKILL"):
            server.result(calls[1])
        assert firsts(server.result(calls[2])) == firsts(server.predict(batch(2.0)))
    assert len(launches) == 3


def test_last_death_ends_it(start: Start) -> None:
    deadly = {"what": "dies", "at": 1}
    with start(deadly, restarts=0) as server, pytest.raises(ServerExited, match="SIGKILL"):
        server.result(server.submit(batch(1.0)))


def test_hanging_server_is_replaced(start: Start, launches: list[ModelServer]) -> None:
    with start({"what": "hangs", "at": 1}, call_timeout_seconds=0.5) as server:
        answer = firsts(server.result(server.submit(batch(1.0))))
        assert answer == firsts(server.predict(batch(1.0)))
    assert len(launches) == 2


def test_refusal_is_the_batchs_own(start: Start, launches: list[ModelServer]) -> None:
    """The server lives, so nothing is replaced."""
    refuses = {"what": "refuses", "code": "INTERNAL", "poisoned": True}
    with start(refuses) as server:
        with pytest.raises(PredictError, match="INTERNAL"):
            server.result(server.submit(batch(POISON)))
        server.predict(batch(1.0))
    assert len(launches) == 1


def test_unavailable_server_is_no_rows_fault(start: Start) -> None:
    refuses = {"what": "refuses", "code": "UNAVAILABLE", "at": 1}
    with start(refuses, refuses, restarts=1) as server, pytest.raises(ServerFailed):
        server.result(server.submit(batch(1.0)))


def test_cancelled_call_is_not_sent_again(start: Start, launches: list[ModelServer]) -> None:
    with start({"what": "hangs", "at": 1}) as server:
        call = server.submit(batch(1.0))
        server.cancel(call)
        with pytest.raises(CallAbandoned):
            server.result(call)
    assert len(launches) == 1


def test_stopped_job_starts_no_server(start: Start, launches: list[ModelServer]) -> None:
    signal = StopSignal()
    with start({"what": "dies", "at": 1}, deadline=Deadline.after(60, signal)) as server:
        call = server.submit(batch(1.0))
        signal.stop(ShuttingDown("the instance ends"))
        with pytest.raises(ShuttingDown):
            server.result(call)
    assert len(launches) == 1


def test_start_is_retried(start: Start, launches: list[ModelServer]) -> None:
    with start({"at_start": "exits"}) as server:
        server.predict(batch(1.0))
    assert len(launches) == 2


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (InvalidInstance("a bad row"), True),
        (StorageFailed("no storage"), True),
        (SignatureNotFound("x", []), True),
        (Cancelled("no more"), False),
        (DeadlineExceeded("time is up"), False),
        (ServerFailed("it died"), False),
        (KeyError("a bug"), False),
    ],
)
def test_an_error_tells_whether_its_server_may_serve_others(
    error: Exception, start: Start, *, is_kept: bool
) -> None:
    with start() as server:
        server.__exit__(type(error), error, None)
        assert (server.kept is not None) is is_kept
        if server.kept is not None:
            assert server.kept.is_ready(5.0)
