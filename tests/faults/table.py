"""The table of faults: what is broken, where, and what a job makes of it.

The promise that every row is held to: an input file ends with its complete, correct output or with
none and a reason; the same call afterwards completes what is missing and repeats nothing; nothing
is left behind.
"""

import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests

from tests.fakes.error_details import details_of
from tests.faults import storage_proxy as proxy_faults
from tests.faults.model_server import POISON
from tests.faults.storage_proxy import Disturbance, Operation, Request, Rule
from tests.faults.world import FILES, ROWS, SMALL_ROWS, World, put_inputs, row

BIG = "b.jsonl"
_WAIT_SECONDS = 20.0
_GONE_SECONDS = 5.0
# About as long as an undisturbed job takes.
_JOB_SECONDS = 0.8
_RANDOM_MOMENTS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the call answers: a status, words of its message, and which outputs are there then.

    Files are published behind each other's prediction: the first one that is not `complete` has the
    error, and those after it are there or not. What is there is in the report.
    """

    code: int = 200
    words: str = ""
    complete: tuple[str, ...] = FILES


def _nothing(_: World) -> None:
    """The fault is in the call, or there is nothing to undo."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. `break_it` prepares the world; `undo` puts things right again."""

    name: str
    where: str
    break_it: Callable[[World], None]
    outcome: Outcome = field(default_factory=Outcome)
    undo: Callable[[World], None] = _nothing
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
    assert not unread or fault.undo is not _nothing, "an order was never read"
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
    for _ in range(int(_WAIT_SECONDS * 10)):
        try:
            answer = world.call()
        except requests.ConnectionError:
            wait.wait(0.1)
            continue
        if answer.status_code != 429:
            return answer
        wait.wait(0.1)
    raise AssertionError("the instance did not become free")


# Storage


def _is(operation: Operation, name: str = "", count: int | None = None) -> Callable[..., bool]:
    def matches(request: Request) -> bool:
        return (
            request.operation == operation
            and request.name.endswith(name)
            and (count is None or request.count == count)
        )

    return matches


def _is_last_chunk(request: Request) -> bool:
    return request.operation == "chunk" and request.is_last_chunk


def once(matches: Callable[[Request], bool]) -> Callable[[Request], bool]:
    met = threading.Event()

    def matches_once(request: Request) -> bool:
        if met.is_set() or not matches(request):
            return False
        met.set()
        return True

    return matches_once


def _breaks(matches: Callable[[Request], bool], disturb: Disturbance) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        world.proxy.rules.append(Rule(once(matches), disturb))

    return break_it


def _always(matches: Callable[[Request], bool], disturb: Disturbance) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        world.proxy.rules.append(Rule(matches, disturb))

    return break_it


LAST_CHUNK = _is_last_chunk
DESCRIBING = _is("describe", BIG)
_REQUESTS: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("listing the inputs", _is("list", "in/")),
    ("listing the model", _is("list", "models/zoo/")),
    ("listing the outputs", _is("list", "out/")),
    ("fetching the model", _is("read", "saved_model.pb")),
    ("reading a small input", _is("read", "a.jsonl")),
    ("writing a small output", _is("insert", "a.jsonl")),
    ("beginning an upload", _is("begin", BIG)),
    ("the first chunk of an upload", _is("chunk", BIG, 0)),
    ("a middle chunk of an upload", _is("chunk", BIG, 1)),
    ("the last chunk of an upload", LAST_CHUNK),
    ("describing an output", DESCRIBING),
)


def _passing_storage_faults() -> Iterator[Fault]:
    """Each is met once; the job completes as if nothing had been."""
    for where, matches in _REQUESTS:
        yield Fault("503", where, _breaks(matches, proxy_faults.answers(503)))
        yield Fault(
            "reset before storage hears", where, _breaks(matches, proxy_faults.resets_before)
        )
        yield Fault(
            "reset after storage has acted",
            where,
            _breaks(matches, proxy_faults.resets_after),
            # Nobody but storage knows of an upload whose address was lost; it holds nothing.
            leaves="upload" if where == "beginning an upload" else "",
        )
    for code in (408, 429, 500, 502, 504):
        for where, matches in (_REQUESTS[0], _REQUESTS[4], _REQUESTS[5], _REQUESTS[8]):
            yield Fault(str(code), where, _breaks(matches, proxy_faults.answers(code)))
    for where, matches in (_REQUESTS[0], _REQUESTS[3], _REQUESTS[5], _REQUESTS[8], _REQUESTS[9]):
        yield Fault("silence", where, _breaks(matches, proxy_faults.is_silent))
    for where, matches in (_REQUESTS[0], _REQUESTS[1], _REQUESTS[5], _REQUESTS[9]):
        yield Fault(
            "an answer cut off in the middle", where, _breaks(matches, proxy_faults.truncates(0.5))
        )
        yield Fault("a page that is no answer", where, _breaks(matches, proxy_faults.answers_junk))
    for where, fraction in (("first", 0.0), ("middle", 0.5), ("last", 0.9999999)):
        for what, matches in (
            ("an input", _is("read", BIG)),
            ("the model", _is("read", "saved_model.pb")),
        ):
            yield Fault(
                "cut off",
                f"{what}, its {where} byte",
                _breaks(matches, proxy_faults.truncates(fraction)),
            )
            yield Fault(
                "damaged",
                f"{what}, its {where} byte",
                _breaks(matches, proxy_faults.damages_answer(fraction)),
            )
    for place in (5, 7, 8, 9):
        where, matches = _REQUESTS[place]
        yield Fault("damaged", where, _breaks(matches, proxy_faults.damages_upload))
        yield Fault("400", where, _breaks(matches, proxy_faults.answers(400)))
    yield Fault(
        "an upload is forgotten (410)",
        "a middle chunk of an upload",
        _breaks(_is("chunk", BIG, 1), proxy_faults.answers(410)),
    )
    yield Fault(
        "an upload is forgotten (404)",
        "the last chunk of an upload",
        _breaks(LAST_CHUNK, proxy_faults.answers(404)),
    )


_LISTS = _REQUESTS[:3]
_WRITES = (_REQUESTS[5], _REQUESTS[9])


def _answers_without_sense() -> Iterator[Fault]:
    """Each is met once, and asked again; storage has done what it was asked for."""
    for where, matches in _LISTS:
        for what, body in (
            ("a JSON array", b"[]"),
            ("an empty answer", b""),
            ("null", b"null"),
            ("objects that are no list", b'{"items": {"name": "a"}}'),
            ("objects that are texts", b'{"items": ["a"]}'),
            ("objects without anything", b'{"items": [{}]}'),
        ):
            yield Fault(what, where, _breaks(matches, proxy_faults.says(body)))
    for name in ("name", "size", "crc32c", "generation"):
        where, matches = _REQUESTS[0]
        yield Fault(f"no {name}", where, _breaks(matches, proxy_faults.leaves_out(name)))
    for where, matches in _WRITES:
        for name in ("generation", "crc32c", "size"):
            yield Fault(f"no {name}", where, _breaks(matches, proxy_faults.leaves_out(name)))
        yield Fault("a JSON array", where, _breaks(matches, proxy_faults.says(b"[]")))
        yield Fault(
            "answers without sense for ever", where, _always(matches, proxy_faults.says(b"[]"))
        )
    yield Fault(
        "other bytes than asked for",
        "reading a small input",
        _breaks(
            _is("read", "a.jsonl"), proxy_faults.changes_header("Content-Range", "bytes 9-12/13")
        ),
    )
    yield Fault(
        "no address",
        "beginning an upload",
        _breaks(_is("begin", BIG), proxy_faults.changes_header("Location", None)),
        leaves="upload",
    )
    yield Fault(
        "broken off after the address",
        "beginning an upload",
        _breaks(_is("begin", BIG), proxy_faults.breaks_off_after_headers),
    )
    yield Fault(
        "more bytes than were sent",
        "a middle chunk of an upload",
        _breaks(_is("chunk", BIG, 1), proxy_faults.changes_header("Range", "bytes=0-999999999")),
    )
    first = Outcome(502, "gs://faults/", complete=())
    yield Fault(
        "a JSON array for ever",
        "listing the inputs",
        _always(_is("list", "in/"), proxy_faults.says(b"[]")),
        first,
    )
    yield Fault(
        "the same page for ever",
        "listing the inputs",
        _always(_is("list", "in/"), proxy_faults.says(b'{"nextPageToken": "a"}')),
        first,
    )


def _odd_moments() -> Iterator[Fault]:
    """Codes that other moments give a meaning, in moments in which they pass."""
    for code in (409, 499):
        for place in (0, 3, 4, 5, 6, 8, 9, 10):
            where, matches = _REQUESTS[place]
            yield Fault(str(code), where, _breaks(matches, proxy_faults.answers(code)))


def _trickles() -> Iterator[Fault]:
    for place in (0, 3, 4, 5, 9):
        where, matches = _REQUESTS[place]
        yield Fault("a trickle", where, _breaks(matches, proxy_faults.trickles()))
        yield Fault(
            "a trickle of headers",
            where,
            _breaks(matches, proxy_faults.trickles(headers=True)),
        )
    yield Fault(
        "a trickle for ever",
        "listing the inputs",
        _always(_is("list", "in/"), proxy_faults.trickles()),
        Outcome(502, "silent for too long", complete=()),
    )


def _uploads_to_the_letter() -> Iterator[Fault]:
    """What is there is whole and known, whatever becomes of its description."""
    for code in (400, 403, 404, 412, 503):
        yield Fault(
            f"{code} for ever",
            "describing an output",
            _always(DESCRIBING, proxy_faults.answers(code)),
        )
    yield Fault(
        "resets for ever", "describing an output", _always(DESCRIBING, proxy_faults.resets_before)
    )
    for where, matches in _WRITES:
        for what, answers in (("damaged unnoticed", True), ("damaged unnoticed and reset", False)):
            yield Fault(
                what, where, _breaks(matches, proxy_faults.damages_unnoticed(answers=answers))
            )
    yield Fault(
        "503",
        "the second page of the inputs",
        _breaks(_is("list", "in/", 1), proxy_faults.answers(503)),
    )


def _lasting_storage_faults() -> Iterator[Fault]:
    """They do not pass while the job runs: a clear answer, and nothing half done."""
    first = Outcome(502, "gs://faults/", complete=())
    later = Outcome(502, f"gs://faults/out/{BIG}", complete=("a.jsonl",))
    for where, matches, outcome in (
        ("listing the inputs", _is("list", "in/"), first),
        ("fetching the model", _is("read", "saved_model.pb"), first),
        (
            "reading an input",
            _is("read", "a.jsonl"),
            Outcome(502, "gs://faults/in/a.jsonl", complete=()),
        ),
        ("a middle chunk of an upload", lambda r: _is("chunk", BIG)(r) and r.count > 0, later),
    ):
        yield Fault("503 for ever", where, _always(matches, proxy_faults.answers(503)), outcome)
        yield Fault("resets for ever", where, _always(matches, proxy_faults.resets_before), outcome)
    yield Fault(
        "damaged for ever",
        "an input",
        _always(_is("read", BIG), proxy_faults.damages_answer(0.5)),
        Outcome(502, "crc32c", complete=("a.jsonl",)),
    )
    yield Fault(
        "damaged for ever",
        "the model",
        _always(_is("read", "saved_model.pb"), proxy_faults.damages_answer(0.5)),
        Outcome(502, "crc32c", complete=()),
    )
    for code, words in ((403, "permission denied"), (401, "the credentials cannot be used")):
        yield Fault(
            str(code),
            "listing the inputs",
            _always(_is("list", "in/"), proxy_faults.answers(code)),
            Outcome(403, words, complete=()),
        )
    yield Fault(
        "403",
        "reading an input",
        _always(_is("read", BIG), proxy_faults.answers(403)),
        Outcome(403, "storage.objects.get", complete=("a.jsonl",)),
    )
    yield Fault(
        "403",
        "writing an output",
        _always(_is("insert", "a.jsonl"), proxy_faults.answers(403)),
        Outcome(403, "storage.objects.create", complete=()),
    )
    yield Fault(
        "403",
        "beginning an upload",
        _always(_is("begin", BIG), proxy_faults.answers(403)),
        Outcome(403, "storage.objects.create", complete=("a.jsonl",)),
    )
    yield Fault(
        "400",
        "writing an output",
        _always(_is("insert", "a.jsonl"), proxy_faults.answers(400)),
        Outcome(502, "storage answered 400", complete=()),
    )


def _replace_input(world: World) -> None:
    def replace() -> None:
        world.bucket.put(f"in/{BIG}", "[1]\n")

    world.proxy.rules.append(Rule(once(_is("read", BIG)), proxy_faults.does_first(replace)))


def _delete_input(world: World) -> None:
    def delete() -> None:
        world.bucket.delete(f"in/{BIG}")

    world.proxy.rules.append(Rule(once(_is("read", BIG)), proxy_faults.does_first(delete)))


def _someone_writes(name: str, matches: Callable[[Request], bool]) -> Callable[[World], None]:
    """Another instance of this very job is the first to finish a file."""

    def break_it(world: World) -> None:
        answer = world.call()
        assert answer.status_code == 200
        other = {name: world.bucket.get(f"out/{name}")}
        world.clear()

        def write() -> None:
            for written, content in other.items():
                world.bucket.put(f"out/{written}", content)

        world.proxy.rules.append(Rule(once(matches), proxy_faults.does_first(write)))

    return break_it


def _restore(world: World) -> None:
    put_inputs(world.bucket, BIG)


def _changes_under_the_job() -> Iterator[Fault]:
    yield Fault(
        "an input is replaced",
        "before it is read",
        _replace_input,
        Outcome(409, "replaced since the job began", complete=("a.jsonl",)),
        undo=_restore,
    )
    yield Fault(
        "an input is deleted",
        "before it is read",
        _delete_input,
        Outcome(404, "it was there when the job began", complete=("a.jsonl",)),
        undo=_restore,
    )
    for where, name, matches, complete in (
        ("a small output", "a.jsonl", _is("insert", "a.jsonl"), ()),
        ("a large output", BIG, _is_last_chunk, ("a.jsonl",)),
    ):
        yield Fault(
            "somebody else writes",
            where,
            _someone_writes(name, matches),
            Outcome(409, "somebody else has written it", complete=complete),
            call=_call_that_loses(name),
        )


def _call_that_loses(name: str) -> Callable[[World], requests.Response]:
    """The other's output is none of this job's: it is taken away before outputs are compared."""

    def call(world: World) -> requests.Response:
        answer = world.call()
        world.bucket.delete(f"out/{name}")
        return answer

    return call


# The model server


def _orders(*orders: dict[str, Any]) -> Callable[[World], None]:
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


def _server_faults() -> Iterator[Fault]:
    for what in ("dies", "exits", "crashes", "hangs", "answers_short"):
        for where, at in (("the first call", 1), ("a middle call", 4)):
            yield Fault(f"the server {what}", where, _orders({"what": what, "at": at}))
    yield Fault(
        "the server dies twice",
        "different calls",
        _orders({"what": "dies", "at": 3}, {"what": "dies", "at": 6}),
    )
    yield Fault("the server ends", "its start", _orders({"at_start": "exits"}))
    yield Fault("the server is killed", "its start", _orders({"at_start": "dies"}))
    yield Fault("the server hangs", "its start", _orders({"at_start": "hangs"}))
    yield Fault(
        "the server floods its output", "a middle call", _orders({"what": "floods", "at": 3})
    )
    yield Fault("the server ignores SIGTERM", "its end", _orders({"ignores_sigterm": True}))
    yield Fault("the server forks", "its start", _orders({"forks": True}))
    yield Fault(
        "the server dies",
        "three times",
        _orders({"what": "dies", "at": 2}, {"what": "dies", "at": 7}, {"what": "dies", "at": 1}),
        Outcome(503, "was killed by SIGKILL while it was serving", complete=("a.jsonl",)),
    )
    yield Fault(
        "the server ends",
        "every start",
        _orders(*[{"at_start": "exits"}] * 3),
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
            undo=_restore,
        )
    deadly = {"what": "dies", **_POISONED}
    yield Fault(
        "a row kills every server",
        "a middle batch",
        _poisoned(deadly, deadly, deadly),
        Outcome(422, "the model server died twice on the batch", complete=("a.jsonl",)),
        undo=_restore,
    )


# The end of a job from outside


def _during_the_large_file(world: World, then: Callable[[], None]) -> "Future[requests.Response]":
    """Calls, and does something while the second chunk of the large output is on its way."""
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        go_on.wait(10)

    matches = once(_is("chunk", BIG, 1))
    world.proxy.rules.append(Rule(matches, proxy_faults.does_first(wait)))
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(world.call)
    pool.shutdown(wait=False)
    assert reached.wait(_WAIT_SECONDS)
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
    assert isinstance(answer.exception(_WAIT_SECONDS), requests.ConnectionError)
    _, alive = psutil.wait_procs([*servers, worker], timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def _terminate_the_worker(world: World) -> requests.Response:
    worker = _worker(world)
    answer = _during_the_large_file(world, lambda: worker.send_signal(signal.SIGTERM))
    response = answer.result(_WAIT_SECONDS)
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
            error = answer.exception(_WAIT_SECONDS)
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
    for _ in range(int(_WAIT_SECONDS * 10)):
        if set(world.outputs()) == set(FILES):
            return
        wait.wait(0.1)
    raise AssertionError("the job did not go on to its end")


def _endings() -> Iterator[Fault]:
    for number in (signal.SIGKILL, signal.SIGTERM):
        for moment in range(1, _RANDOM_MOMENTS + 1):
            yield Fault(
                f"{number.name} to the worker",
                f"a random moment, {moment}",
                _nothing,
                call=_at_a_random_moment(number),
                leaves="upload" if number == signal.SIGKILL else "",
            )
    yield Fault(
        "SIGKILL to the worker",
        "a middle chunk of an upload",
        _nothing,
        call=_kill_the_worker,
        leaves="upload",
    )
    yield Fault(
        "SIGTERM to the worker",
        "a middle chunk of an upload",
        _nothing,
        Outcome(503, "shutting down", complete=("a.jsonl",)),
        call=_terminate_the_worker,
    )
    yield Fault(
        "the caller hangs up",
        "while the server starts",
        _nothing,
        call=_hang_up,
    )
    yield Fault(
        "out of time",
        "while the server hangs in a call",
        # The model does not say how long its answers are, so calls begin with two rows each.
        _orders({"what": "hangs", "at": 5}),
        Outcome(504, "the job's time of 3.8 s is up", complete=("a.jsonl",)),
        # A little less than CALL_TIMEOUT_SECONDS of four calls, after which the server is replaced.
        call=lambda world: world.call(timeout_seconds=3.8),
    )
    yield Fault(
        "out of time",
        "while storage says 503",
        _always(_is("read", BIG), proxy_faults.answers(503)),
        Outcome(504, "the job's time of 2.6 s is up", complete=("a.jsonl",)),
        # Storage is retried for 2.5 s from when the server has started.
        call=lambda world: world.call(timeout_seconds=2.6),
    )
    yield Fault(
        "out of time",
        "while the server starts",
        _orders({"at_start": "hangs"}),
        Outcome(504, "the job's time of 2 s is up", complete=()),
        call=lambda world: world.call(timeout_seconds=2),
    )


FAULTS: tuple[Fault, ...] = (
    *_passing_storage_faults(),
    *_answers_without_sense(),
    *_odd_moments(),
    *_trickles(),
    *_uploads_to_the_letter(),
    *_lasting_storage_faults(),
    *_changes_under_the_job(),
    *_server_faults(),
    *_endings(),
)
