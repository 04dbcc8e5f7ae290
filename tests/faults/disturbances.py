"""What can be done to a request: each is a Disturbance of the proxy."""

import threading
from collections.abc import Callable

import orjson

from tests.fakes.google_protocol import Answer
from tests.faults.storage_proxy import Broken, Disturbance, Forward, Request, Trickling

_UPLOAD_UNIT = 256 * 1024
# Long enough for the client to lose patience, short enough not to hold a test up.
_SILENCE_SECONDS = 3.0


def answers(status: int) -> Disturbance:
    """An error in the place of storage's answer; nothing is forwarded."""

    def disturb(_: Request, __: bytes, ___: Forward) -> Answer:
        body = b'{"error": {"code": %d, "message": "injected"}}' % status
        return Answer(status, {"Content-Type": "application/json"}, body)

    return disturb


def answers_junk(_: Request, __: bytes, forward: Forward) -> Answer:
    """A page that is no answer, in the place of the answer."""
    forward()
    return Answer(200, {"Content-Type": "text/html"}, b"<html>please log in</html>")


def resets_before(_: Request, __: bytes, ___: Forward) -> Answer:
    """The connection is reset, and storage has heard nothing."""
    raise Broken


def resets_after(_: Request, __: bytes, forward: Forward) -> Answer:
    """Storage has done what it was asked, and nobody hears of it."""
    forward()
    raise Broken


def truncates(fraction: float) -> Disturbance:
    """The answer ends early, after a part of what its length promised."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        raise Broken(forward(), fraction)

    return disturb


def is_silent(_: Request, __: bytes, ___: Forward) -> Answer:
    """No answer for longer than anybody waits."""
    threading.Event().wait(_SILENCE_SECONDS)
    raise Broken


def damages_answer(fraction: float) -> Disturbance:
    """One byte of the answer is another one."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        answer = forward()
        place = min(int(len(answer.body) * fraction), len(answer.body) - 1)
        damaged = bytearray(answer.body)
        damaged[place] ^= 1
        return Answer(answer.status, answer.headers, bytes(damaged))

    return disturb


def trickles(*, headers: bool = False) -> Disturbance:
    """An answer of a byte each tenth of a second, after its headers or with them."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        raise Trickling(forward(), headers=headers)

    return disturb


def says(body: bytes, *, after: bool = True, **headers: str) -> Disturbance:
    """A success with this body in the place of the answer, whatever storage has done."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        answered = forward().headers if after else {}
        return Answer(200, {**answered, "Content-Type": "application/json", **headers}, body)

    return disturb


def leaves_out(field: str) -> Disturbance:
    """The JSON answer without a field: its own, and that of each object that it lists."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        answer = forward()
        body = orjson.loads(answer.body)
        for described in (body, *body.get("items", ())):
            described.pop(field, None)
        return Answer(answer.status, answer.headers, orjson.dumps(body))

    return disturb


def changes_header(name: str, value: str | None) -> Disturbance:
    """The answer with another header, or without it."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        answer = forward()
        headers = {key: text for key, text in answer.headers.items() if key != name}
        return Answer(answer.status, headers | ({name: value} if value else {}), answer.body)

    return disturb


def breaks_off_after_headers(_: Request, __: bytes, forward: Forward) -> Answer:
    answer = forward()
    raise Broken(Answer(answer.status, answer.headers, answer.body or b"nothing of it"), 0.0)


def damages_unnoticed(*, answers: bool) -> Disturbance:
    """What is stored is damaged, and nobody has told storage its checksum.

    It `answers` with what it has, or the connection is reset after that.
    """

    def disturb(_: Request, body: bytes, forward: Forward) -> Answer:
        damaged = bytearray(body.replace(b'"crc32c"', b'"no-crc"'))
        damaged[len(body) * 9 // 10] ^= 1
        answer = forward(bytes(damaged), **{"X-Goog-Hash": ""})
        if not answers:
            raise Broken
        return answer

    return disturb


def damages_upload(_: Request, body: bytes, forward: Forward) -> Answer:
    """One byte of what is stored is another one; that is in the middle of the content."""
    damaged = bytearray(body)
    damaged[len(body) // 2] ^= 1
    return forward(bytes(damaged))


def persists_part(request: Request, body: bytes, forward: Forward) -> Answer:
    """Of a block in the middle, storage takes one unit of 256 KiB; then the connection is reset."""
    last = request.first_byte + _UPLOAD_UNIT - 1
    forward(body[:_UPLOAD_UNIT], **{"Content-Range": f"bytes {request.first_byte}-{last}/*"})
    raise Broken


def does_first(action: Callable[[], object]) -> Disturbance:
    """Something else happens before the request is forwarded."""

    def disturb(_: Request, __: bytes, forward: Forward) -> Answer:
        action()
        return forward()

    return disturb
