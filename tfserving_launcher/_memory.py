"""How much memory this process and its children may still use, and whether it ran out.

Source of the formats: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current,
memory.peak, memory.stat, memory.events), Documentation/admin-guide/cgroup-v1/memory.rst
(memory.limit_in_bytes, memory.usage_in_bytes, memory.max_usage_in_bytes, memory.oom_control) and
proc_meminfo(5), proc_pid_smaps(5), proc_pid_statm(5).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tfserving_launcher._cgroups import CGROUP_ROOT, OWN_CGROUPS, cgroups_of

_MEMINFO = Path("/proc/meminfo")
_KIBIBYTE = 1024
# Version 1 says so where there is no limit: the largest number of whole pages.
_NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: of a limit, and how many are left of it. What the kernel can drop counts as left."""

    limit: int
    left: int


def memory_left(
    cgroup_root: Path = CGROUP_ROOT, own_cgroups: Path = OWN_CGROUPS, meminfo: Path = _MEMINFO
) -> Memory | None:
    """By the tightest limit of the cgroups' and the machine's. None where nothing is known."""
    found = [_of_machine(meminfo)]
    found += [_of_cgroup(folder) for folder in cgroups_of("memory", cgroup_root, own_cgroups)]
    return min(
        (memory for memory in found if memory is not None),
        key=lambda memory: memory.left,
        default=None,
    )


def resident_bytes(pid: int) -> int:
    """The memory of a process, with its share of shared pages; 0 where it cannot be read.

    Forked model servers share most of theirs.
    """
    if (proportional := _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")) is not None:
        return proportional * _KIBIBYTE
    words = _text(Path(f"/proc/{pid}/statm")).split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


@dataclass(frozen=True, slots=True)
class OutOfMemoryKills:
    """Processes that the kernel has killed so far; `peak` and `limit` are the group's, in bytes."""

    count: int
    peak: int | None
    limit: int | None


def out_of_memory_kills(
    cgroup_root: Path = CGROUP_ROOT, own_cgroups: Path = OWN_CGROUPS
) -> OutOfMemoryKills | None:
    """Of the innermost group that counts them. None where none does."""
    for folder in cgroups_of("memory", cgroup_root, own_cgroups):
        for events, peak, limit in (
            ("memory.events", "memory.peak", "memory.max"),
            ("memory.oom_control", "memory.max_usage_in_bytes", "memory.limit_in_bytes"),
        ):
            count = _field(folder / events, "oom_kill")
            if count is not None:
                return OutOfMemoryKills(count, _number(folder / peak), _number(folder / limit))
    return None


def _of_cgroup(folder: Path) -> Memory | None:
    for limit_file, usage_file, droppable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _number(folder / limit_file), _number(folder / usage_file)
        if limit is not None and usage is not None:
            used = usage - (_field(folder / "memory.stat", droppable) or 0)
            return Memory(limit, max(0, limit - used))
    return None


def _of_machine(meminfo: Path) -> Memory | None:
    total, left = _field(meminfo, "MemTotal:"), _field(meminfo, "MemAvailable:")
    if total is None or left is None:
        return None
    return Memory(total * _KIBIBYTE, left * _KIBIBYTE)


def _number(file: Path) -> int | None:
    """None where there is no such file, or no limit."""
    text = _text(file).strip()
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None


def _field(file: Path, name: str) -> int | None:
    for line in _text(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
