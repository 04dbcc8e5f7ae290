"""What glibc does with memory that has been freed; elsewhere nothing needs doing.

Source: mallopt(3) and malloc_trim(3).
"""

import ctypes
import threading

_M_ARENA_MAX = -8
_MOMENT_SECONDS = 1.0


def share_heaps() -> None:
    """Has threads share two heaps.

    Otherwise each thread of a job would keep what it has freed to itself, tens of megabytes after
    a few jobs. Heaps that are there already stay, so this comes before the threads.
    """
    _call("mallopt", _M_ARENA_MAX, 2)


def give_back_free_memory() -> None:
    """Returns to the system what a job has used and freed."""
    _call("malloc_trim", 0)


def give_back_free_memory_soon() -> None:
    """The same in a moment: gRPC frees the last messages after its channel is closed."""
    timer = threading.Timer(_MOMENT_SECONDS, give_back_free_memory)
    timer.daemon = True
    timer.start()


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return  # another C library
    function(*arguments)
