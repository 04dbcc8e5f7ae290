"""Clients that send or read slowly, or not at all, take nothing away from the others."""

import resource
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.fakes.processes import RunningService, gunicorn

# What the service promises; here it only bounds how long a probe waits.
PROBE_SECONDS = 1.0
HALF_A_HEADER = b"GET /health HTTP/1.1\r\nHost: x\r\n"
HEALTH = HALF_A_HEADER + b"\r\n"
PAGE = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

Connect = Callable[..., socket.socket]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room in this process for the clients' ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def connect(service: RunningService, many_files: None) -> Iterator[Connect]:  # noqa: ARG001
    """A new connection, on which so much is sent at once."""
    with ExitStack() as stack:

        def connected(data: bytes = b"", to: RunningService = service) -> socket.socket:
            address = urlsplit(to.url)
            connection = socket.create_connection((address.hostname, address.port), timeout=20)
            stack.enter_context(closing(connection))
            connection.sendall(data)
            return connection

        yield connected


@pytest.fixture
def own_service(gcs_url: str, temporary_folder: Path) -> Iterator[RunningService]:
    environment = {"STORAGE_EMULATOR_HOST": gcs_url, "TMPDIR": str(temporary_folder)}
    with gunicorn(environment, "tests.fakes.waiting_service:app") as running_service:
        yield running_service


def is_healthy(service: RunningService) -> bool:
    answer = requests.get(f"{service.url}/health", timeout=PROBE_SECONDS)
    return bool(answer.json()["status"] == "ok")


def answer_on(connection: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


def limit_files(service: RunningService, files: int) -> None:
    (worker,) = psutil.Process(service.process.pid).children()
    worker.rlimit(psutil.RLIMIT_NOFILE, (files, files))


# Slow to send


@pytest.mark.parametrize("count", [8, 300])
def test_half_sent_headers_do_not_silence_health(
    count: int, connect: Connect, service: RunningService
) -> None:
    for _ in range(count):
        connect(HALF_A_HEADER)
    assert is_healthy(service)


@pytest.mark.parametrize(
    "start",
    [
        POST + b"Content-Length: 100\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: y\r\n",
        POST + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_half_sent_bodies_do_not_silence_health(
    start: bytes, connect: Connect, service: RunningService
) -> None:
    for _ in range(100):
        connect(start)
    assert is_healthy(service)


def test_1000_idle_connections_leave_health_alive(
    connect: Connect, service: RunningService
) -> None:
    """A thousand idle connections do not silence health."""
    for number in range(1100):
        connection = connect()
        if number % 2:
            connection.sendall(HEALTH)
            assert answer_on(connection).status == 200
    assert is_healthy(service)


def test_a_header_that_drips_ends_with_408(connect: Connect) -> None:
    connection = connect(b"GET /")
    connection.settimeout(0.5)
    for _ in range(60):
        connection.sendall(b"a")
        try:
            start = connection.recv(1000)
            break
        except TimeoutError:
            continue
    assert start.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"a header has 10 s" in start


def test_a_body_that_pauses_ends_with_408(connect: Connect) -> None:
    connection = connect(POST + b"Content-Length: 100\r\n\r\n{")
    answer = answer_on(connection)
    assert answer.status == 408
    assert b"a pause in it may take 10 s" in answer.read()


def test_large_bodies_that_pause_do_not_fill_the_memory(
    connect: Connect, service: RunningService
) -> None:
    (worker,) = psutil.Process(service.process.pid).children()
    before = worker.memory_info().rss
    connections = [connect(POST + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)]
    for _ in range(100):
        connections.append(connect(POST + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000))
        assert is_healthy(service)
    assert worker.memory_info().rss - before < 60e6
    assert answer_on(connections[0]).status == 503


# Slow to read, or to go


def test_unread_answers_leave_health_alive(connect: Connect, service: RunningService) -> None:
    """Clients that read no answer do not silence health."""
    for _ in range(20):
        connection = connect()
        connection.setblocking(False)
        try:
            while True:
                connection.send(PAGE * 1000)
        except BlockingIOError:
            continue
    assert is_healthy(service)


def test_open_answered_connections_leave_health_alive(
    connect: Connect, service: RunningService
) -> None:
    """Connections left open after their answer do not silence health."""
    for _ in range(50):
        connection = connect(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer_on(connection).status == 200
    assert is_healthy(service)


def test_connections_that_are_reset_harm_nothing(connect: Connect, service: RunningService) -> None:
    for data in (b"", HALF_A_HEADER, POST + b"Content-Length: 9\r\n\r\n", HEALTH, PAGE * 1000):
        connection = connect(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert is_healthy(service)


# Too many


def test_more_connections_than_files_leave_health_alive(
    connect: Connect, own_service: RunningService
) -> None:
    """Three times as many connections as files do not silence health."""
    limit_files(own_service, 256)
    for number in range(768):
        connect(HALF_A_HEADER if number % 2 else b"", own_service)
    assert is_healthy(own_service)


def test_longest_idle_connection_makes_room(connect: Connect, own_service: RunningService) -> None:
    """The connection that is idle for longest makes room."""
    limit_files(own_service, 100)
    connections = [connect(b"", own_service) for _ in range(60)]
    assert connections[0].recv(1) == b""
    connections[-1].sendall(HEALTH)
    assert answer_on(connections[-1]).status == 200


def test_running_request_outlives_connections(
    connect: Connect, own_service: RunningService, tmp_path: Path
) -> None:
    """A request under way outlives any number of connections."""
    url = f"{own_service.url}/wait?for={tmp_path / 'go'}"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.get, url, timeout=50)
        while not (tmp_path / "waiting").exists():
            assert is_healthy(own_service)
        limit_files(own_service, 100)
        for _ in range(200):
            connect(HALF_A_HEADER, own_service)
        assert is_healthy(own_service)
        (tmp_path / "go").touch()
        assert answer.result().text == "it is there\n"


# What is sent quickly is answered as ever


def test_pipelined_requests_answer_in_order(connect: Connect) -> None:
    """Requests sent at once are answered in their order."""
    body = b'{"model": "gs://bkt/m"}'
    post = POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    nowhere = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nis not read."
    last = b"GET /health HTTP/1.0\r\n\r\n"
    connection = connect(HEALTH + post + chunked + nowhere + HEALTH + last)
    codes = []
    stream = connection.makefile("rb")
    for _ in range(6):
        start = stream.readline()
        codes.append(int(start.split()[1]))
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        stream.read(length)
    assert codes == [200, 400, 400, 404, 200, 200]
    assert stream.read() == b""


def test_pipelined_requests_leave_health_alive(connect: Connect, service: RunningService) -> None:
    """Many at once on each of many connections, whose answers nobody reads."""
    for _ in range(60):
        connect(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
    assert all(is_healthy(service) for _ in range(20))


def test_expect_100_is_answered_once(connect: Connect) -> None:
    """A client that asks before it sends is told to once."""
    connection = connect(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    too_large = connect(POST + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
    assert too_large.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "Invalid HTTP request line"),
        (b"\x00", 400, "Invalid HTTP request line"),
        (b"GET /health HTTP/1.1\nHost: x\n\n", 400, "bare LF"),
        (b"GET /" + b"a" * 100_000, 431, "longer than 65,536 bytes"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, 431, "longer than 65,536 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431, "headers fields"),
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000), 414, "9"),
        (b"GET / HTTP/7.0\r\nHost: x\r\n\r\n", 400, "Invalid HTTP Version"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400, "CONTENT-LENGTH"),
        (POST + b"Transfer-Encoding: snappy\r\n\r\n", 501, "Unsupported transfer coding"),
        (POST + b"Expect: tea\r\n\r\n", 417, "expectation"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "Invalid chunk size"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n", 400, "chunk terminator"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"a" * 9000, 400, "Invalid chunk size"),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 400_000,
            413,
            "with its chunks' sizes",
        ),
        (POST + b"Content-Length: 99999999999999\r\n\r\n", 413, "1,048,576 bytes"),
    ],
)
def test_what_can_become_no_request_is_answered_at_once(
    data: bytes, code: int, words: str, connect: Connect, service: RunningService
) -> None:
    connection = connect()
    connection.settimeout(5)
    connection.sendall(data)
    answer = answer_on(connection)
    text = answer.read().decode()
    assert (answer.status, answer.getheader("Content-Type")) == (code, "application/json")
    assert words in text
    assert is_healthy(service)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"Content-Length: 9\r\n\r\n{}", "it ends after 2 of 9 bytes"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "it ends before its last chunk"),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", "Invalid chunk terminator"),
    ],
)
def test_a_body_that_ends_too_early_is_400_in_words(
    body: bytes, words: str, connect: Connect
) -> None:
    connection = connect(POST + body)
    connection.shutdown(socket.SHUT_WR)
    answer = answer_on(connection)
    assert answer.status == 400
    assert f"the body cannot be read: {words}" in answer.read().decode()
