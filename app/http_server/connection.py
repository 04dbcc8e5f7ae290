"""Connections, and a table of them by state."""

import math
import socket
import time
from enum import Enum
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Any

from app.http_server.refusals import Refusal
from app.http_server.request_reader import RequestReader

_HEADER_SECONDS = 10.0
_BODY_SECONDS = 60.0
_SILENCE_SECONDS = 10.0
TOO_SLOW = Refusal(
    408,
    "DEADLINE_EXCEEDED",
    f"the request did not arrive in time: a header has {_HEADER_SECONDS:g} s, a body"
    f" {_BODY_SECONDS:g} s, and a pause in it may take {_SILENCE_SECONDS:g} s",
)


class Stage(Enum):
    """The state of a connection: what it waits for. RUNNING waits for its answer."""

    IDLE = "the first byte of a request"
    READING = "the rest of a request"
    RUNNING = "the application"
    SENDING = "the client to read its answer"
    CLOSING = "the client to close its end"
    CLOSED = "nothing"


_EVENTS = {
    Stage.IDLE: EVENT_READ,
    Stage.READING: EVENT_READ,
    Stage.RUNNING: 0,
    Stage.SENDING: EVENT_WRITE,
    Stage.CLOSING: EVENT_READ,
    Stage.CLOSED: 0,
}
WAITING_FOR_THE_CLIENT = (Stage.IDLE, Stage.READING, Stage.SENDING, Stage.CLOSING)


class Connection:
    """One client's connection. `deadline` is the end of its current wait on the monotonic clock."""

    def __init__(
        self, sock: socket.socket, reader: RequestReader, client: Any, server: Any
    ) -> None:
        self.sock = sock
        self.reader = reader
        self.client = client
        self.server = server
        self.stage = Stage.CLOSED
        self.deadline = math.inf
        self.waits_since = math.inf
        self._request_deadline = math.inf
        self.counted_bytes = 0
        self.unsent = memoryview(b"")
        self.closes_after_answer = False

    def deadline_for_rest(self, *, begins_body: bool) -> float:
        """The deadline for the complete request, or for its next bytes if that is sooner."""
        now = time.monotonic()
        if begins_body:
            self._request_deadline = now + _BODY_SECONDS
        elif self.stage is not Stage.READING:
            self._request_deadline = now + _HEADER_SECONDS
        return min(self._request_deadline, now + _SILENCE_SECONDS)


class ConnectionTable:
    """All connections by state; in each, the one that has waited longest comes first."""

    def __init__(self, selector: BaseSelector) -> None:
        self._selector = selector
        self._by_stage: dict[Stage, dict[Connection, None]] = {stage: {} for stage in Stage}
        self._held_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._by_stage.values()))

    def at(self, *stages: Stage) -> list[Connection]:
        return [connection for stage in stages for connection in self._by_stage[stage]]

    def move(self, connection: Connection, stage: Stage, deadline: float) -> None:
        """Change a connection's state, or extend its wait. CLOSED closes it."""
        connection.deadline = deadline
        if stage is connection.stage:
            return
        self._watch(connection, _EVENTS[connection.stage], _EVENTS[stage])
        self._by_stage[connection.stage].pop(connection, None)
        connection.stage = stage
        connection.waits_since = time.monotonic()
        if stage is Stage.CLOSED:
            self._held_bytes -= connection.counted_bytes
            connection.counted_bytes = 0
            connection.sock.close()
        else:
            self._by_stage[stage][connection] = None

    def held_bytes(self, changed: Connection) -> int:
        """The bytes of unfinished requests in all connections, after this one changed."""
        held = changed.reader.held_bytes
        self._held_bytes += held - changed.counted_bytes
        changed.counted_bytes = held
        return self._held_bytes

    def longest_waiting(self) -> Connection | None:
        """The connection that has waited longest for its client, or None.

        Idle ones have no precedence: a connection that is about to send a request is idle as well.
        """
        groups = [self._by_stage[stage] for stage in WAITING_FOR_THE_CLIENT]
        first = [next(iter(group)) for group in groups if group]
        return min(first, key=lambda connection: connection.waits_since, default=None)

    def _watch(self, connection: Connection, before: int, events: int) -> None:
        if before == events:
            return
        if before == 0:
            self._selector.register(connection.sock, events, connection)
        elif events == 0:
            self._selector.unregister(connection.sock)
        else:
            self._selector.modify(connection.sock, events, connection)
