"""Landlock: the kernel keeps a thread, and all that it starts, from writing outside one folder.

No privilege is needed and nothing can be taken back. Each version of the kernel's interface (ABI)
restricts more: 1 writing, creating and removing, and reading the memory and descriptors of
processes outside; 2 moving between folders; 3 truncating; 4 TCP; 5 device controls; 6 signals and
abstract unix sockets.
Source: docs.kernel.org/userspace-api/landlock.html and include/uapi/linux/landlock.h of Linux.
"""

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfserving_launcher._linux import IS_LINUX, system_call

# The same numbers on every architecture but one that TensorFlow does not know.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE = 1 << 1
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
# To remove a folder (bit 4) or a file, and to make each kind of file there is (up to bit 12).
_REMOVE_OR_MAKE = sum(1 << bit for bit in range(4, 13))
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

_DEVICES = Path("/dev")
_COMPUTING_DEVICES = (
    *("null", "zero", "full", "random", "urandom"),
    *("nvidia*", "dri", "kfd", "accel*", "vfio"),
)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttributes(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # what packing means, from Python 3.14 on said by name
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_abi() -> int:
    """The version of the interface; 0 where the kernel has none, or has it switched off."""
    if not IS_LINUX:
        return 0
    try:
        return system_call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        # EPERM: a container's filter of system calls does not know Landlock.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def restrict_writing(folder: Path, abi: int) -> None:
    """Restricts this thread for good; it must have been barred from new privileges before.

    Writing stays allowed below `folder` and to the devices that programs compute with. `abi` is
    the version of the interface. Raises OSError.
    """
    handled = _rights(abi)
    attributes = _RulesetAttributes(
        handled_access_fs=handled,
        handled_access_net=_BIND_TCP | _CONNECT_TCP if abi >= 4 else 0,
        scoped=_SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= 6 else 0,
    )
    # A kernel that knows fewer fields takes them all, as long as the others are zero.
    ruleset = system_call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        _allow(ruleset, [folder], handled)
        _allow(ruleset, _writable_beside(), handled & (_WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE))
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _rights(abi: int) -> int:
    """Every right to change files that this version of the interface knows."""
    rights = _WRITE_FILE | _REMOVE_OR_MAKE
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
        if abi >= since:
            rights |= right
    return rights


def _writable_beside() -> Iterator[Path]:
    for pattern in _COMPUTING_DEVICES:
        yield from _DEVICES.glob(pattern)
    if (_DEVICES / "nvidiactl").exists():
        # CUDA names its threads through /proc/self/task/*/comm and does not start where it cannot.
        yield Path("/proc")


def _allow(ruleset: int, paths: Iterable[Path], access: int) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = _PathBeneathAttributes(allowed_access=access, parent_fd=descriptor)
            system_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(descriptor)
