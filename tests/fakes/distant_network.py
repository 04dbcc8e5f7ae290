"""A network between a client and a server that are far from each other.

    python -m tests.fakes.distant_network LISTENING_FD TARGET_PORT ROUND_TRIP_MS MB_PER_S JITTER_MS

A relay of TCP connections on the loopback address. Each connection takes a round trip before its
first byte, each byte arrives half a round trip later than without the relay, and so many megabytes
a second pass each way of a connection. Jitter delays each piece by up to so many milliseconds more.
"""

import asyncio
import random
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.fakes.processes import running

_PIECE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Distance:
    """`round_trip_ms` and `jitter_ms` in milliseconds; each way of each connection has its own
    `megabytes_per_second`.
    """

    round_trip_ms: float = 50.0
    megabytes_per_second: float = 30.0
    jitter_ms: float = 0.0


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that listens on a free port, so that its address is known before the relay runs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield listener


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def distant_network(listener: socket.socket, target: str, distance: Distance) -> Iterator[None]:
    """Relay the connections to `listener` to the `target` URL while the block runs."""
    argv = [sys.executable, "-m", "tests.fakes.distant_network", str(listener.fileno())]
    argv += [target.rpartition(":")[2], str(distance.round_trip_ms)]
    argv += [str(distance.megabytes_per_second), str(distance.jitter_ms)]
    with ExitStack() as stack:
        # Connections wait in the listener's queue until the relay takes them.
        stack.enter_context(running(argv, lambda _: True, pass_fds=(listener.fileno(),)))
        yield


class _OneWay:
    """The pieces that are on their way in one direction of a connection."""

    def __init__(self, distance: Distance) -> None:
        self._distance = distance
        self._bytes_per_second = distance.megabytes_per_second * 1e6
        # What fills the way, and a piece at each end.
        most = self._bytes_per_second * distance.round_trip_ms / 2000
        self._most_bytes = int(most) + 2 * _PIECE_BYTES
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._sent_until = self._arrived_until = 0.0
        self._changed = asyncio.Condition()
        self._ended = False

    async def take(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(_PIECE_BYTES):
                async with self._changed:
                    await self._changed.wait_for(lambda: self._bytes < self._most_bytes)
                    self._pieces.append((self._arrival(len(data)), data))
                    self._bytes += len(data)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def give(self, writer: asyncio.StreamWriter) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pieces or self._ended)
                if not self._pieces:
                    break
                arrival, data = self._pieces.popleft()
            await asyncio.sleep(arrival - time.monotonic())
            writer.write(data)
            await writer.drain()
            async with self._changed:
                self._bytes -= len(data)
                self._changed.notify_all()
        if writer.can_write_eof():
            writer.write_eof()

    def _arrival(self, size: int) -> float:
        """When a piece that is sent now has arrived; never before the one before it."""
        self._sent_until = max(self._sent_until, time.monotonic()) + size / self._bytes_per_second
        late = self._distance.round_trip_ms / 2 + random.uniform(0, self._distance.jitter_ms)
        self._arrived_until = max(self._arrived_until, self._sent_until + late / 1000)
        return self._arrived_until


async def _relay(listener: socket.socket, port: int, distance: Distance) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake of TCP, which the kernel has answered already.
        await asyncio.sleep(distance.round_trip_ms / 1000)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        there, back = _OneWay(distance), _OneWay(distance)
        steps = (there.take(reader), there.give(far_writer), back.take(far_reader))
        try:
            await asyncio.gather(*steps, back.give(writer))
        except ConnectionError:
            pass  # one side has broken off, and hears no more of the other
        finally:
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(connected, sock=listener, limit=2 * _PIECE_BYTES)
    async with server:
        await server.serve_forever()


def main(listener: str, port: str, round_trip: str, bandwidth: str, jitter: str) -> None:
    distance = Distance(float(round_trip), float(bandwidth), float(jitter))
    asyncio.run(_relay(socket.socket(fileno=int(listener)), int(port), distance))


if __name__ == "__main__":
    main(*sys.argv[1:])
