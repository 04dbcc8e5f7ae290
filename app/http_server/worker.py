"""The gunicorn worker of this service: slow clients occupy no thread.

An event loop reads complete requests and sends complete responses; threads only compute them. So a
few threads suffice for one job and /health, however many connections there are. It serves HTTP/1
without TLS. It uses gunicorn's base.Worker and HTTP parser.
"""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import ConfigError
from gunicorn.http.message import Request
from gunicorn.workers.base import Worker

from app.errors import ShuttingDown
from app.http_server.answer_pool import AnswerPool
from app.http_server.connection import (
    TOO_SLOW,
    WAITING_FOR_THE_CLIENT,
    Connection,
    ConnectionTable,
    Stage,
)
from app.http_server.listeners import Listeners
from app.http_server.refusals import Refusal, Refused
from app.http_server.request_reader import RequestReader
from app.http_server.wsgi_call import Answer, Caller, answer

_UNREAD_ANSWER_SECONDS = 30.0
_CLOSING_SECONDS = 2.0
_MOST_HELD_BYTES = 16 * 1024 * 1024

_TURN_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_RECEIVED_AT_ONCE_BYTES = 64 * 1024
# A stopping worker still answers requests that are arriving on kept-alive connections.
_STOPPING_SECONDS = 2.0
_STOPPING_TURN_SECONDS = 0.2
# The master kills the worker after its own grace period, so answer clients before that.
_LAST_WORDS_SECONDS = 1.0

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_MANY = Refusal(503, "UNAVAILABLE", "too many requests arrive at the same time; try again", 5)
_STOPPED = Refusal(
    ShuttingDown.code,
    ShuttingDown.status,
    "the instance is shutting down; the job was stopped",
    ShuttingDown.retry_after_seconds,
)


class BufferingWorker(Worker):
    """Uses gunicorn's settings threads, keepalive, worker_connections and graceful_timeout.

    Calls `on_stop` once, when the worker begins to stop for whatever reason, and `on_end` when all
    requests are answered.
    """

    on_stop: Callable[[], None] = staticmethod(lambda: None)
    on_end: Callable[[], None] = staticmethod(lambda: None)
    _gives_up = False

    @classmethod
    def check_config(cls, cfg: Config, _log: Any) -> None:
        """Raise ConfigError for settings that this worker does not support."""
        if cfg.is_ssl:
            raise ConfigError("this worker speaks no TLS: unset certfile and keyfile")

    def init_process(self) -> None:
        self._selector = DefaultSelector()
        self._connections = ConnectionTable(self._selector)
        self._next_look = 0.0
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGHUP):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # gunicorn's signature
        # The signal wakes the loop: gunicorn sets a wakeup descriptor.
        self.alive = False

    def run(self) -> None:
        """Serve until the worker must stop, or the master is gone."""
        self._pool = AnswerPool(self.cfg.threads, self.PIPE[1])
        listeners = Listeners(
            self.sockets,
            self._selector,
            most=self.cfg.worker_connections,
            accepted=self._begin,
            make_room=self._make_room,
        )
        self._selector.register(self.PIPE[0], EVENT_READ, self._wake)
        while self.alive and self.ppid == os.getppid():
            listeners.open()
            self._turn(_TURN_SECONDS)
        listeners.close()
        self.alive = False
        self.on_stop()
        self._end()
        self.on_end()
        if self._gives_up:
            # The master does not start another worker then, and ends with this status.
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def give_up(self) -> None:
        """End the worker and its master, because it would fail again. For any thread."""
        self._gives_up = True
        self.alive = False
        os.write(self.PIPE[1], b".")

    def _turn(self, seconds: float) -> None:
        self.notify()
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Connection):
                self._guarded(self._serve, key.data)
            else:
                key.data()
        for connection, made in self._pool.made():
            self._guarded(self._send, connection, made)
        self._end_waits()

    def _end(self) -> None:
        """Wait for running and outgoing answers, within the grace period."""
        started = time.monotonic()
        grace = max(0.0, self.cfg.graceful_timeout - _LAST_WORDS_SECONDS)
        while (waited := time.monotonic() - started) < grace:
            if not self._connections.at(Stage.RUNNING, Stage.SENDING) and (
                waited > _STOPPING_SECONDS or len(self._connections) == 0
            ):
                break
            self._turn(_STOPPING_TURN_SECONDS)
        for connection in self._connections.at(Stage.RUNNING):
            self._send(connection, Answer(_STOPPED.answer(), closes=True))
        self._pool.close()

    def _guarded(self, step: Callable[..., None], connection: Connection, *arguments: Any) -> None:
        """Close a connection whose handling failed; keep the worker running."""
        try:
            step(connection, *arguments)
        except Exception:
            self.log.exception("a connection is given up")
            self._close(connection)

    # Room for connections

    def _begin(self, sock: socket.socket, client: Any, server: Any) -> int:
        sock.setblocking(False)
        connection = Connection(sock, RequestReader(self.cfg, client), client, server)
        self._wait_for_request(connection)
        return len(self._connections)

    def _make_room(self) -> bool:
        connection = self._connections.longest_waiting()
        if connection is not None:
            self._give_up(connection)
        return connection is not None

    def _give_up(self, connection: Connection) -> None:
        if connection.stage is Stage.READING:
            with suppress(OSError):  # tell the client if that is possible without waiting
                connection.sock.send(_TOO_MANY.answer())
        self._close(connection)

    def _bound_held_bytes(self, changed: Connection) -> None:
        held = self._connections.held_bytes(changed)
        for connection in self._connections.at(Stage.READING):
            if held <= _MOST_HELD_BYTES:
                return
            held -= connection.counted_bytes
            self._give_up(connection)

    # From a connection's bytes to a request

    def _serve(self, connection: Connection) -> None:
        if connection.stage is Stage.SENDING:
            self._send_rest(connection)
        elif connection.stage is not Stage.CLOSED:  # it may have been closed in this iteration
            self._receive(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_RECEIVED_AT_ONCE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        if connection.stage is Stage.CLOSING:
            if not data:
                self._close(connection)
            return
        connection.reader.ended = not data
        self._read(connection, data)
        if connection.stage is not Stage.CLOSED:
            self._bound_held_bytes(connection)

    def _read(self, connection: Connection, data: bytes) -> None:
        reader = connection.reader
        in_body = reader.in_body
        try:
            reader.feed(data)
            request = reader.next_request()
        except Refused as refused:
            self.log.warning("request refused with %d: %s", refused.refusal.code, refused)
            self._send(connection, Answer(refused.refusal.answer(), closes=True))
            return
        if request is not None:
            self._connections.move(connection, Stage.RUNNING, math.inf)
            self._pool.make(connection, partial(self._answer, connection, request))
        elif reader.ended:
            self._close(connection)
        elif not reader.begun:
            self._wait_for_request(connection)
        else:
            self._wait_for_rest(connection, begins_body=reader.in_body and not in_body)

    def _wait_for_request(self, connection: Connection) -> None:
        self._connections.move(connection, Stage.IDLE, time.monotonic() + float(self.cfg.keepalive))

    def _wait_for_rest(self, connection: Connection, *, begins_body: bool) -> None:
        if connection.reader.expects_continue:
            connection.reader.expects_continue = False
            with suppress(OSError):  # reading detects a disconnected client
                connection.sock.send(_CONTINUE)
        deadline = connection.deadline_for_rest(begins_body=begins_body)
        self._connections.move(connection, Stage.READING, deadline)

    # From a request to its answer

    def _answer(self, connection: Connection, request: Request) -> Answer:
        """Runs in a thread of the pool."""
        caller = Caller(connection.sock.fileno(), connection.client, connection.server)
        return answer(self.wsgi, request, caller, self.log, last=not self.alive)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.PIPE[0], _RECEIVED_AT_ONCE_BYTES)

    def _send(self, connection: Connection, made: Answer) -> None:
        connection.unsent = memoryview(made.data)
        connection.closes_after_answer = made.closes or connection.reader.ended
        self._connections.move(connection, Stage.SENDING, time.monotonic() + _UNREAD_ANSWER_SECONDS)
        self._send_rest(connection)

    def _send_rest(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        connection.unsent = connection.unsent[sent:]
        if connection.unsent:
            deadline = time.monotonic() + _UNREAD_ANSWER_SECONDS
            self._connections.move(connection, Stage.SENDING, deadline)
        elif connection.closes_after_answer:
            self._close_gently(connection)
        else:
            connection.reader.begin_next()
            self._read(connection, b"")

    # The end of a connection

    def _close_gently(self, connection: Connection) -> None:
        """Close after the client has read its answer: unread bytes would reset the connection.

        Source: RFC 9112, section 9.6.
        """
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        self._connections.move(connection, Stage.CLOSING, time.monotonic() + _CLOSING_SECONDS)

    def _close(self, connection: Connection) -> None:
        self._connections.move(connection, Stage.CLOSED, math.inf)

    def _end_waits(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for connection in self._connections.at(*WAITING_FOR_THE_CLIENT):
            if connection.deadline > now:
                continue
            if connection.stage is Stage.READING:
                self._guarded(self._send, connection, Answer(TOO_SLOW.answer(), closes=True))
            else:
                self._close(connection)
