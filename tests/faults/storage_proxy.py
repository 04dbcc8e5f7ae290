"""A proxy in front of a storage that breaks what it is told to.

The storage is fake-gcs-server, made to speak Google's protocol, or one in memory that holds all of
it. The proxy knows the requests of the JSON API by what they do (Operation), counts them, and asks
a plan what to do with each. Source: cloud.google.com/storage/docs/json_api/v1
"""

import io
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import requests

from tests.fakes.cloud_storage import CloudStorage
from tests.fakes.google_protocol import Answer, GoogleProtocol

Operation = Literal[
    "list",
    "find",
    "read",
    "insert",
    "begin",
    "chunk",
    "status",
    "cancel",
    "describe",
    "delete",
    "other",
]
Stage = Literal["before", "after"]

_IDLE_POLLS = 50
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "host"}
_FIRST_BYTE = re.compile(r"bytes ([0-9]+)-")
_NAME = re.compile(rb'"name": ?"([^"]*)"')
# Each byte comes in time, and all of them never do.
_TRICKLE_SECONDS = 0.1
_TRICKLED_BYTES = 300


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client; `count` numbers those of its operation and object, from 0."""

    operation: Operation
    name: str
    count: int
    is_last_chunk: bool = False
    first_byte: int = 0


class Trickling(Exception):
    """The answer comes byte by byte, or its `headers` do already."""

    def __init__(self, answer: Answer, *, headers: bool) -> None:
        super().__init__()
        self.answer = answer
        self.headers = headers


class Broken(Exception):
    """The connection ends here, after so much of the answer."""

    def __init__(self, answer: Answer | None = None, fraction: float = 0.0) -> None:
        super().__init__()
        self.answer = answer
        self.fraction = fraction


# Sends a request on, with another body where one is given.
Forward = Callable[..., Answer]
# Does with a request what it likes; `forward` does what is right.
Disturbance = Callable[[Request, bytes, Forward], Answer]


@dataclass(slots=True)
class Rule:
    """A disturbance for the requests that `matches` picks."""

    matches: Callable[[Request], bool]
    disturb: Disturbance
    hits: int = 0


@dataclass(slots=True)
class StorageProxy:
    """`rules` say what is broken; `open_uploads` are begun and neither finished nor cancelled.

    `published` names an object each time that one appears or is replaced.
    """

    storage: GoogleProtocol | CloudStorage
    url: str = ""
    rules: list[Rule] = field(default_factory=list)
    counts: dict[tuple[Operation, str], int] = field(default_factory=dict)
    open_uploads: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    in_flight: int = 0

    def await_idle(self) -> None:
        """Returns once no request is being answered; silent ones are no reason to wait for long."""
        for _ in range(_IDLE_POLLS):
            if not self.in_flight:
                return
            threading.Event().wait(0.02)

    def calm_down(self) -> None:
        """Breaks nothing any more, and counts from the beginning."""
        with self.lock:
            self.rules.clear()
            self.counts.clear()
            self.requests.clear()

    def hits(self) -> int:
        return sum(rule.hits for rule in self.rules)


@contextmanager
def storage_proxy(target: str | CloudStorage) -> Iterator[StorageProxy]:
    """On a free port of the loopback address, while the block runs.

    `target` is the URL of a fake-gcs-server, or the storage in memory.
    """
    proxy = StorageProxy(GoogleProtocol(target) if isinstance(target, str) else target)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: StorageProxy

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        # One for each connection, as the client has it.
        self.session = requests.Session()
        self.session.trust_env = False

    def finish(self) -> None:
        self.session.close()
        super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # the client has broken off, as it may

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = _classify(self.proxy, self.command, self.path, self.headers, body)

        def forward(sent: bytes = body, **changed: str) -> Answer:
            headers = {**self.headers, **changed}
            with self.proxy.lock:
                self.proxy.in_flight += 1
            try:
                answer = _answered(self, headers, sent)
            finally:
                with self.proxy.lock:
                    self.proxy.in_flight -= 1
            _note_upload(self.proxy, request, self.path, answer)
            return answer

        try:
            answer = _disturbed(self.proxy, request, body, forward)
        except Broken as broken:
            self._break_off(broken)
            return
        except Trickling as trickling:
            self._trickle(trickling)
            return
        try:
            self._answer(answer, answer.body)
        except ConnectionError:
            self.close_connection = True

    def _answer(self, answer: Answer, body: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(body)

    def _break_off(self, broken: Broken) -> None:
        self.close_connection = True
        if broken.answer is not None:
            whole = broken.answer.body
            self._answer(broken.answer, whole[: int(len(whole) * broken.fraction)])
            self.wfile.flush()
            # A reset now would take back what the client has not read yet.
            self.connection.shutdown(socket.SHUT_WR)
            return
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _trickle(self, trickling: Trickling) -> None:
        self.close_connection = True
        fast, self.wfile = self.wfile, io.BytesIO()
        self._answer(trickling.answer, trickling.answer.body)
        text, self.wfile = self.wfile.getvalue(), fast
        begins = 0 if trickling.headers else text.index(b"\r\n\r\n") + 4
        try:
            self.wfile.write(text[:begins])
            for place in range(begins, min(len(text), begins + _TRICKLED_BYTES)):
                self.wfile.write(text[place : place + 1])
                threading.Event().wait(_TRICKLE_SECONDS)
        except ConnectionError:
            pass  # the client has lost patience, as it should

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815  # names of http.server

    def log_message(self, *_: object) -> None:
        """Silence."""


def _disturbed(proxy: StorageProxy, request: Request, body: bytes, forward: Forward) -> Answer:
    with proxy.lock:
        rule = next((rule for rule in proxy.rules if rule.matches(request)), None)
        if rule is not None:
            rule.hits += 1
    return forward() if rule is None else rule.disturb(request, body, forward)


def _classify(
    proxy: StorageProxy, method: str, path: str, headers: Message, body: bytes
) -> Request:
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    operation: Operation = "other"
    name = unquote(parts.path.rpartition("/o/")[2]) if "/o/" in parts.path else ""
    is_last, first_byte = False, 0
    if parts.path.startswith("/upload/"):
        name = query.get("name", "")
        if method == "POST":
            described = _NAME.search(body)
            name = described[1].decode() if described else ""
            operation = "begin" if query.get("uploadType") == "resumable" else "insert"
        elif method == "PUT":
            content_range = headers.get("Content-Range", "")
            operation = "status" if content_range.startswith("bytes */") else "chunk"
            is_last = not content_range.endswith("*")
            if block := _FIRST_BYTE.match(content_range):
                first_byte = int(block[1])
        elif method == "DELETE":
            operation = "cancel"
    elif parts.path.startswith("/download/"):
        operation = "read"
    elif method == "GET":
        operation = "find" if name else "list"
        name = name or query.get("prefix", "")
    elif method in ("DELETE", "PATCH"):
        operation = "delete" if method == "DELETE" else "describe"
    with proxy.lock:
        count = proxy.counts.get((operation, name), 0)
        proxy.counts[operation, name] = count + 1
        request = Request(operation, name, count, is_last, first_byte)
        proxy.requests.append(request)
    return request


def _answered(handler: _Handler, headers: dict[str, str], body: bytes) -> Answer:
    storage = handler.proxy.storage
    if isinstance(storage, CloudStorage):
        return storage.answer(handler.command, handler.path, headers, body)

    def forward() -> Answer:
        return _forward(handler, storage.target, headers, body)

    return storage.answer(handler.command, handler.path, headers, body, forward)


def _forward(handler: _Handler, target: str, headers: dict[str, str], body: bytes) -> Answer:
    proxy = handler.proxy
    passed = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
    response = handler.session.request(
        handler.command,
        target + handler.path,
        headers=passed,
        data=body,
        allow_redirects=False,
        stream=True,
        timeout=30,
    )
    # As it is stored: requests would unpack what is gzipped.
    content = response.raw.read(decode_content=False)
    # Uploads go on where the beginning of them is answered; that must be here as well.
    answered = {
        name: value.replace(target, proxy.url) if name.lower() == "location" else value
        for name, value in response.headers.items()
    }
    return Answer(response.status_code, answered, content)


def _note_upload(proxy: StorageProxy, request: Request, path: str, answer: Answer) -> None:
    with proxy.lock:
        if request.operation == "insert" and answer.status == 200:
            proxy.published.append(request.name)
        if request.operation == "begin" and answer.status == 200:
            proxy.open_uploads.add(_upload_id(answer.headers["Location"]))
        elif request.operation == "cancel" or (
            request.operation in ("chunk", "status") and answer.status in (200, 201, 412)
        ):
            proxy.open_uploads.discard(_upload_id(path))


def _upload_id(url: str) -> str:
    return parse_qs(urlsplit(url).query)["upload_id"][0]
