"""Answers that trickle are given up; slow ones are not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from app.storage.slow_answers import ImpatientAdapter

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
BODY = b"x" * 100_000
Send = Callable[[socket.socket], None]


def _bytewise(text: bytes) -> Send:
    def send(connection: socket.socket) -> None:
        for place in range(len(text)):
            connection.sendall(text[place : place + 1])
            threading.Event().wait(0.02)

    return send


def trickling_headers(connection: socket.socket) -> None:
    _bytewise(HEADERS + BODY)(connection)


def trickling_body(connection: socket.socket) -> None:
    connection.sendall(HEADERS)
    _bytewise(BODY)(connection)


def trickling_end(connection: socket.socket) -> None:
    connection.sendall(HEADERS + BODY[:-1000])
    _bytewise(BODY[-1000:])(connection)


def slow(connection: socket.socket) -> None:
    """Takes twice the time limit; in each of its tenths comes enough."""
    connection.sendall(HEADERS)
    for start in range(0, len(BODY), 5000):
        connection.sendall(BODY[start : start + 5000])
        threading.Event().wait(0.05)


@contextmanager
def server(send: Send) -> Iterator[str]:
    """Answers one request."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                with suppress(ConnectionError):  # the client gives up
                    send(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def get(url: str) -> bytes:
    with requests.Session() as session:
        session.mount("http://", ImpatientAdapter())
        return session.get(url, timeout=(5, 0.5)).content


@pytest.mark.timeout(20)
@pytest.mark.parametrize("send", [trickling_headers, trickling_body, trickling_end])
def test_a_trickle_is_given_up(send: Send) -> None:
    with server(send) as url, pytest.raises(requests.RequestException, match="timed out"):
        get(url)


def test_a_slow_answer_is_taken() -> None:
    with server(slow) as url:
        assert get(url) == BODY
