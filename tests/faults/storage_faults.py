"""Faults of storage: those that pass, those that last, and changes under a job."""

from collections.abc import Callable, Iterator

import requests

from tests.faults import disturbances
from tests.faults.matching import LAST_CHUNK, REQUESTS, always, breaks, is_, once
from tests.faults.promise import Fault, Outcome, restore_input
from tests.faults.storage_proxy import Request, Rule
from tests.faults.world import BIG, World


def passing_faults() -> Iterator[Fault]:
    """Each is met once; the job completes as if nothing had been."""
    for where, matches in REQUESTS:
        yield Fault("503", where, breaks(matches, disturbances.answers(503)))
        yield Fault(
            "reset before storage hears", where, breaks(matches, disturbances.resets_before)
        )
        yield Fault(
            "reset after storage has acted",
            where,
            breaks(matches, disturbances.resets_after),
            # Nobody but storage knows of an upload whose address was lost; it holds nothing.
            leaves="upload" if where == "beginning an upload" else "",
        )
    for code in (408, 429, 500, 502, 504):
        for where, matches in (REQUESTS[0], REQUESTS[4], REQUESTS[5], REQUESTS[8]):
            yield Fault(str(code), where, breaks(matches, disturbances.answers(code)))
    for where, matches in (REQUESTS[0], REQUESTS[3], REQUESTS[5], REQUESTS[8], REQUESTS[9]):
        yield Fault("silence", where, breaks(matches, disturbances.is_silent))
    for where, matches in (REQUESTS[0], REQUESTS[1], REQUESTS[5], REQUESTS[9]):
        yield Fault(
            "an answer cut off in the middle", where, breaks(matches, disturbances.truncates(0.5))
        )
        yield Fault("a page that is no answer", where, breaks(matches, disturbances.answers_junk))
    for where, fraction in (("first", 0.0), ("middle", 0.5), ("last", 0.9999999)):
        for what, matches in (
            ("an input", is_("read", BIG)),
            ("the model", is_("read", "saved_model.pb")),
        ):
            yield Fault(
                "cut off",
                f"{what}, its {where} byte",
                breaks(matches, disturbances.truncates(fraction)),
            )
            yield Fault(
                "damaged",
                f"{what}, its {where} byte",
                breaks(matches, disturbances.damages_answer(fraction)),
            )
    for place in (5, 7, 8, 9):
        where, matches = REQUESTS[place]
        yield Fault("damaged", where, breaks(matches, disturbances.damages_upload))
        yield Fault("400", where, breaks(matches, disturbances.answers(400)))
    yield Fault(
        "an upload is forgotten (410)",
        "a middle chunk of an upload",
        breaks(is_("chunk", BIG, 1), disturbances.answers(410)),
    )
    yield Fault(
        "an upload is forgotten (404)",
        "the last chunk of an upload",
        breaks(LAST_CHUNK, disturbances.answers(404)),
    )


def lasting_faults() -> Iterator[Fault]:
    """They do not pass while the job runs: a clear answer, and nothing half done."""
    first = Outcome(502, "gs://faults/", complete=())
    later = Outcome(502, f"gs://faults/out/{BIG}", complete=("a.jsonl",))
    for where, matches, outcome in (
        ("listing the inputs", is_("list", "in/"), first),
        ("fetching the model", is_("read", "saved_model.pb"), first),
        (
            "reading an input",
            is_("read", "a.jsonl"),
            Outcome(502, "gs://faults/in/a.jsonl", complete=()),
        ),
        ("a middle chunk of an upload", lambda r: is_("chunk", BIG)(r) and r.count > 0, later),
    ):
        yield Fault("503 for ever", where, always(matches, disturbances.answers(503)), outcome)
        yield Fault("resets for ever", where, always(matches, disturbances.resets_before), outcome)
    yield Fault(
        "damaged for ever",
        "an input",
        always(is_("read", BIG), disturbances.damages_answer(0.5)),
        Outcome(502, "crc32c", complete=("a.jsonl",)),
    )
    yield Fault(
        "damaged for ever",
        "the model",
        always(is_("read", "saved_model.pb"), disturbances.damages_answer(0.5)),
        Outcome(502, "crc32c", complete=()),
    )
    for code, words in ((403, "permission denied"), (401, "the credentials cannot be used")):
        yield Fault(
            str(code),
            "listing the inputs",
            always(is_("list", "in/"), disturbances.answers(code)),
            Outcome(403, words, complete=()),
        )
    yield Fault(
        "403",
        "reading an input",
        always(is_("read", BIG), disturbances.answers(403)),
        Outcome(403, "storage.objects.get", complete=("a.jsonl",)),
    )
    yield Fault(
        "403",
        "writing an output",
        always(is_("insert", "a.jsonl"), disturbances.answers(403)),
        Outcome(403, "storage.objects.create", complete=()),
    )
    yield Fault(
        "403",
        "beginning an upload",
        always(is_("begin", BIG), disturbances.answers(403)),
        Outcome(403, "storage.objects.create", complete=("a.jsonl",)),
    )
    yield Fault(
        "400",
        "writing an output",
        always(is_("insert", "a.jsonl"), disturbances.answers(400)),
        Outcome(502, "storage answered 400", complete=()),
    )


def _replace_input(world: World) -> None:
    def replace() -> None:
        world.bucket.put(f"in/{BIG}", "[1]\n")

    world.proxy.rules.append(Rule(once(is_("read", BIG)), disturbances.does_first(replace)))


def _delete_input(world: World) -> None:
    def delete() -> None:
        world.bucket.delete(f"in/{BIG}")

    world.proxy.rules.append(Rule(once(is_("read", BIG)), disturbances.does_first(delete)))


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

        world.proxy.rules.append(Rule(once(matches), disturbances.does_first(write)))

    return break_it


def changes_under_the_job() -> Iterator[Fault]:
    yield Fault(
        "an input is replaced",
        "before it is read",
        _replace_input,
        Outcome(409, "replaced since the job began", complete=("a.jsonl",)),
        undo=restore_input,
    )
    yield Fault(
        "an input is deleted",
        "before it is read",
        _delete_input,
        Outcome(404, "it was there when the job began", complete=("a.jsonl",)),
        undo=restore_input,
    )
    for where, name, matches, complete in (
        ("a small output", "a.jsonl", is_("insert", "a.jsonl"), ()),
        ("a large output", BIG, LAST_CHUNK, ("a.jsonl",)),
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
