"""Accepts connections from a worker's listening sockets."""

import errno
import resource
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from selectors import EVENT_READ, BaseSelector
from typing import Any

_ACCEPTED_A_TURN = 64
_PAUSE_SECONDS = 1.0
_NO_DESCRIPTOR_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listeners:
    """Accepts up to `most` connections, or half of the process's file limit.

    `accepted` takes a connection with the addresses of both ends, and returns the number of
    connections. `make_room` closes one, and returns whether it could. If not, accepting pauses.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        selector: BaseSelector,
        *,
        most: int,
        accepted: Callable[[socket.socket, Any, Any], int],
        make_room: Callable[[], bool],
    ) -> None:
        self._sockets = list(sockets)
        self._selector = selector
        self._most = most
        self._accepted = accepted
        self._make_room = make_room
        self._are_open = False
        self._open_again_at = 0.0

    def open(self) -> None:
        """Start to accept, unless a pause is not over."""
        if self._are_open or time.monotonic() < self._open_again_at:
            return
        self._are_open = True
        for listener in self._sockets:
            listener.setblocking(False)
            self._selector.register(listener, EVENT_READ, partial(self._accept, listener))

    def close(self) -> None:
        """Stop accepting. New connections wait in the kernel's backlog."""
        if not self._are_open:
            return
        self._are_open = False
        for listener in self._sockets:
            self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_A_TURN):
            try:
                connection, client = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR_LEFT and not self._make_room():
                    self._pause()
                    return
                continue  # the client is gone, or the next attempt has room for it
            count = self._accepted(connection, client, listener.getsockname())
            if count > self._limit() and not self._make_room():
                self._pause()
                return

    def _limit(self) -> int:
        # The other half is for the job: storage, the model server, and its files.
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self._most if files == resource.RLIM_INFINITY else min(self._most, files // 2)

    def _pause(self) -> None:
        self._open_again_at = time.monotonic() + _PAUSE_SECONDS
        self.close()
