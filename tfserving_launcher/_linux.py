"""System calls of Linux that Python has no functions for.

Source of the numbers: prctl(2), and include/uapi/linux/prctl.h of Linux.
"""

import ctypes
import os
import sys
from functools import cache
from typing import Any

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

IS_LINUX = sys.platform == "linux"


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: Any) -> int:
    """What the call returns. Arguments are whole numbers or ctypes pointers. Raises OSError."""
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc().syscall(ctypes.c_long(number), *passed))


def prctl(option: int, value: int) -> None:
    """Sets one attribute of this process or thread. Raises OSError."""
    _checked(_libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def allow_dumps() -> None:
    """Opens this process to others of its user again, as a program that was executed is."""
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 1)


def drop_capabilities() -> None:
    """Takes from this thread what root may do and others may not. Raises OSError.

    What it starts gets nothing back where new privileges are barred. Source: capset(2), for version
    3 of the interface: of a thread, two words of each of the three sets.
    """
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(_libc().capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
