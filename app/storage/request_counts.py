"""How many requests a job makes of storage, by kind."""

import threading
from collections import Counter
from typing import Literal

RequestKind = Literal[
    "list",
    "get",
    "read",
    "insert",
    "begin_upload",
    "upload_chunk",
    "ask_upload",
    "cancel_upload",
    "update",
    "delete",
]


class RequestCounts:
    """Counts requests as they are sent, retries included. Safe in threads."""

    def __init__(self) -> None:
        self._counts: Counter[RequestKind] = Counter()
        self._lock = threading.Lock()

    def add(self, kind: RequestKind) -> None:
        with self._lock:
            self._counts[kind] += 1

    def by_kind(self) -> dict[str, int]:
        with self._lock:
            return {str(kind): count for kind, count in sorted(self._counts.items())}
