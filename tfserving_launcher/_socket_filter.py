"""A filter of system calls that leaves a thread, and all that it starts, no network.

Unix sockets stay, and so does netlink, by which libraries list the machine's addresses. This holds
also where the kernel has no Landlock, and for what Landlock does not know: UDP, raw and multipath
sockets. Source: seccomp(2), include/uapi/linux/{seccomp,filter,audit}.h of Linux.
"""

import ctypes
import errno
import platform
import socket
import struct
from dataclasses import dataclass

from tfserving_launcher._linux import IS_LINUX, system_call

_SET_MODE_FILTER = 1
# Without it older kernels slow down everything that a filtered process computes.
_SPECULATION_ALLOWED = 1 << 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_NOT_LESS, _RETURN = 0x20, 0x15, 0x35, 0x06
# Offsets in struct seccomp_data; the low half of the first argument, on a little-endian machine.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
# What this opens is not seen by the filter: a ring takes calls without making them.
_IO_URING_SETUP = 425
_AF_NETLINK = 16


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of an architecture. From `foreign_calls` on they are another interface's."""

    architecture: int
    seccomp: int
    socket: int
    foreign_calls: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, seccomp=317, socket=41, foreign_calls=0x40000000),
    "aarch64": _Machine(0xC00000B7, seccomp=277, socket=198, foreign_calls=0xFFFFFFFF),
}


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_network() -> bool:
    """Filters this thread for good; it must have been barred from new privileges before.

    Whether it could be: False where the kernel or the machine has no such filter. Raises OSError.
    """
    machine = _MACHINES.get(platform.machine())
    if not IS_LINUX or machine is None:
        return False
    code = _filter(machine)
    program = _Program(len(code) // 8, code)
    try:
        system_call(machine.seccomp, _SET_MODE_FILTER, _SPECULATION_ALLOWED, ctypes.byref(program))
    except OSError as error:
        # EPERM: a container's own filter does not let another one be added.
        if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
            return False
        raise
    return True


def _filter(machine: _Machine) -> bytes:
    """Jumps count the instructions that they leave out, where the condition holds or not."""
    no_such_call, no_such_family = _ERROR | errno.ENOSYS, _ERROR | errno.EAFNOSUPPORT
    instructions = (
        (_LOAD_WORD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, machine.architecture),
        (_RETURN, 0, 0, no_such_call),
        (_LOAD_WORD, 0, 0, _NUMBER),
        (_JUMP_IF_NOT_LESS, 1, 0, machine.foreign_calls),
        (_JUMP_IF_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, no_such_call),
        (_JUMP_IF_EQUAL, 0, 4, machine.socket),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 2, 0, socket.AF_UNIX),
        (_JUMP_IF_EQUAL, 1, 0, _AF_NETLINK),
        (_RETURN, 0, 0, no_such_family),
        (_RETURN, 0, 0, _ALLOW),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
