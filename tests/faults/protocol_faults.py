"""Faults at which storage says or does what its protocol leaves to odd moments."""

from collections.abc import Iterator

from tests.faults import disturbances
from tests.faults.matching import DESCRIBING, REQUESTS, always, breaks, is_
from tests.faults.promise import Fault, Outcome
from tests.faults.world import BIG

_LISTS = REQUESTS[:3]
_WRITES = (REQUESTS[5], REQUESTS[9])


def answers_without_sense() -> Iterator[Fault]:
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
            yield Fault(what, where, breaks(matches, disturbances.says(body)))
    for name in ("name", "size", "crc32c", "generation"):
        where, matches = REQUESTS[0]
        yield Fault(f"no {name}", where, breaks(matches, disturbances.leaves_out(name)))
    for where, matches in _WRITES:
        for name in ("generation", "crc32c", "size"):
            yield Fault(f"no {name}", where, breaks(matches, disturbances.leaves_out(name)))
        yield Fault("a JSON array", where, breaks(matches, disturbances.says(b"[]")))
        yield Fault(
            "answers without sense for ever", where, always(matches, disturbances.says(b"[]"))
        )
    yield Fault(
        "other bytes than asked for",
        "reading a small input",
        breaks(
            is_("read", "a.jsonl"), disturbances.changes_header("Content-Range", "bytes 9-12/13")
        ),
    )
    yield Fault(
        "no address",
        "beginning an upload",
        breaks(is_("begin", BIG), disturbances.changes_header("Location", None)),
        leaves="upload",
    )
    yield Fault(
        "broken off after the address",
        "beginning an upload",
        breaks(is_("begin", BIG), disturbances.breaks_off_after_headers),
    )
    yield Fault(
        "more bytes than were sent",
        "a middle chunk of an upload",
        breaks(is_("chunk", BIG, 1), disturbances.changes_header("Range", "bytes=0-999999999")),
    )
    first = Outcome(502, "gs://faults/", complete=())
    yield Fault(
        "a JSON array for ever",
        "listing the inputs",
        always(is_("list", "in/"), disturbances.says(b"[]")),
        first,
    )
    yield Fault(
        "the same page for ever",
        "listing the inputs",
        always(is_("list", "in/"), disturbances.says(b'{"nextPageToken": "a"}')),
        first,
    )


def odd_moments() -> Iterator[Fault]:
    """Codes that other moments give a meaning, in moments in which they pass."""
    for code in (409, 499):
        for place in (0, 3, 4, 5, 6, 8, 9, 10):
            where, matches = REQUESTS[place]
            yield Fault(str(code), where, breaks(matches, disturbances.answers(code)))


def trickling_answers() -> Iterator[Fault]:
    for place in (0, 3, 4, 5, 9):
        where, matches = REQUESTS[place]
        yield Fault("a trickle", where, breaks(matches, disturbances.trickles()))
        yield Fault(
            "a trickle of headers",
            where,
            breaks(matches, disturbances.trickles(headers=True)),
        )
    yield Fault(
        "a trickle for ever",
        "listing the inputs",
        always(is_("list", "in/"), disturbances.trickles()),
        Outcome(502, "silent for too long", complete=()),
    )


def uploads_to_the_letter() -> Iterator[Fault]:
    """What is there is whole and known, whatever becomes of its description."""
    for code in (400, 403, 404, 412, 503):
        yield Fault(
            f"{code} for ever",
            "describing an output",
            always(DESCRIBING, disturbances.answers(code)),
        )
    yield Fault(
        "resets for ever", "describing an output", always(DESCRIBING, disturbances.resets_before)
    )
    for where, matches in _WRITES:
        for what, answers in (("damaged unnoticed", True), ("damaged unnoticed and reset", False)):
            yield Fault(
                what, where, breaks(matches, disturbances.damages_unnoticed(answers=answers))
            )
    for (where, matches), complete in zip(_WRITES, ((), ("a.jsonl",)), strict=True):
        yield Fault(
            "damaged unnoticed for ever",
            where,
            always(matches, disturbances.damages_unnoticed(answers=True)),
            Outcome(502, "crc32c", complete=complete),
        )
    yield Fault(
        "503",
        "the second page of the inputs",
        breaks(is_("list", "in/", 1), disturbances.answers(503)),
    )
