"""The calls of one file that are in flight, which end with the file."""

import threading
from collections import deque
from typing import Self

from app.serving.supervised_server import Call, SupervisedServer

# The groups of one batch that are sent before the first of them is answered.
GROUPS_IN_FLIGHT = 4


class CallsInFlight:
    """Cancels the calls that are in flight when the block ends."""

    def __init__(self, server: SupervisedServer, *, ahead: int) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._ahead: deque[Call] = deque(maxlen=ahead + 2)
        # In addition, pieces of one batch: groups of rows, and parts of a refused group.
        self._piece: deque[Call] = deque(maxlen=GROUPS_IN_FLIGHT + 1)
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._left = True
            calls = [*self._ahead, *self._piece]
        for call in calls:
            self._server.cancel(call)

    def add(self, call: Call) -> Call:
        return self._add_to(self._ahead, call)

    def add_piece(self, call: Call) -> Call:
        return self._add_to(self._piece, call)

    def _add_to(self, calls: deque[Call], call: Call) -> Call:
        with self._lock:
            calls.append(call)
            if self._left:
                self._server.cancel(call)
        return call
