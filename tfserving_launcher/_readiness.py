"""The wait for a model server to become ready.

The server binds its socket only after the model is loaded, so a socket that accepts says almost
all; GetModelStatus says the rest. A model that cannot be loaded ends the process.
"""

import enum
import re
import time
from collections.abc import Callable

from tfserving_launcher._errors import (
    ModelLoadError,
    ServerExited,
    ServerTimeout,
)
from tfserving_launcher._process import ChildProcess

_POLL_SECONDS = 0.003

# The last words of a server whose model failed to load (model_servers/server.cc, server_core.cc).
_LOAD_FAILURE = re.compile(
    r"did not become available: [{\s]*(?:name: [^}]*\} due to error: )?(?P<reason>.*?)[\s},]*$",
    re.MULTILINE,
)


class Readiness(enum.Enum):
    """The answers of a readiness probe that did not fail for good."""

    NOT_YET = enum.auto()
    READY = enum.auto()


def wait_until_ready(
    process: ChildProcess,
    probe: Callable[[float], Readiness],
    *,
    timeout_seconds: float,
    check: Callable[[], object] | None = None,
) -> None:
    """Returns when `probe` says READY.

    `probe` is given the seconds it may take. Raises ModelLoadError or ServerExited as soon as the
    child has ended, ServerTimeout at the deadline, and what `probe` and `check` raise.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        if process.exited.is_set():
            raise _failed_start(process)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise ServerTimeout(
                f"the model server was not ready within {timeout_seconds:.1f} s; its last output:"
                f" {process.tail().strip()[-500:] or 'none'}"
            )
        if check is not None:
            check()
        if probe(remaining) is Readiness.READY:
            return
        process.exited.wait(min(_POLL_SECONDS, remaining))


def _failed_start(process: ChildProcess) -> ModelLoadError | ServerExited:
    output = process.tail()
    if failure := _LOAD_FAILURE.search(output):
        return ModelLoadError(failure["reason"], output)
    return process.exit_error("before it was ready")
