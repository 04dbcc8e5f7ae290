"""A wait for something that another process or thread does."""

import threading
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 50.0
_POLL_SECONDS = 0.02


def until(condition: Callable[[], bool]) -> None:
    """Returns once the condition holds; fails when that takes too long."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        threading.Event().wait(_POLL_SECONDS)
