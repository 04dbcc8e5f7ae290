"""HTTP connections that give up on answers that trickle.

A socket's time limit holds for each piece that arrives, so an answer of one byte a second would
never end. Here it holds for each 16 KiB, headers included.
"""

import http.client
import io
import time
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

# What has to arrive within a socket's time limit: all of a short answer, part of a long one.
_LEAST_BYTES = 16 * 1024


class ImpatientAdapter(HTTPAdapter):
    """Opens connections whose answers may not trickle: a TimeoutError ends those that do."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> urllib3.PoolManager:
        manager: urllib3.PoolManager = super().proxy_manager_for(*args, **options)
        # A SOCKS proxy has connection classes of its own.
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


class _Steady(io.RawIOBase):
    """The bytes of one answer. Only the time in which they are waited for counts."""

    def __init__(self, raw: io.RawIOBase, seconds: float | None) -> None:
        self._raw = raw
        self._seconds = seconds
        self._waited = 0.0
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._seconds is not None and self._waited > self._seconds:
            raise TimeoutError("the answer trickles")
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self._came += count or 0
        if self._came >= _LEAST_BYTES:
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Steady(self.fp.detach(), sock.gettimeout()))


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
