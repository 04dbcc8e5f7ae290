"""Returns freed memory to the system, with glibc. Does nothing with other C libraries.

Source: mallopt(3) and malloc_trim(3).
"""

import ctypes
import threading

_M_ARENA_MAX = -8
_MOMENT_SECONDS = 1.0


def share_heaps() -> None:
    """Limit glibc to two heaps for all threads.

    Otherwise each thread keeps its freed memory, tens of megabytes after a few jobs. Existing heaps
    stay, so call this before threads start.
    """
    _call("mallopt", _M_ARENA_MAX, 2)


def give_back_free_memory() -> None:
    """Return freed memory to the system."""
    _call("malloc_trim", 0)


def give_back_free_memory_soon() -> None:
    """Return freed memory in a moment: gRPC frees the last messages after its channel is closed."""
    timer = threading.Timer(_MOMENT_SECONDS, give_back_free_memory)
    timer.daemon = True
    timer.start()


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return  # another C library
    function(*arguments)
