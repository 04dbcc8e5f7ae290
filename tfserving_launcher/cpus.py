"""How many CPUs this process may really use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cpus(cgroup_root: Path = _CGROUP_ROOT, own_cgroups: Path = _OWN_CGROUPS) -> int:
    """Whole CPUs, at least 1: the smaller of the scheduler's affinity and the cgroups' quotas.

    The model server counts the affinity alone, so in a container limited by quota it would start
    too many threads. The quota is rounded up: 1.5 CPUs keep two threads busy.
    Source of the formats: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max),
    Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us), and cgroups(7) (/proc/self/cgroup).
    """
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [
        quota
        for folder in _cpu_cgroups(cgroup_root, own_cgroups)
        if (quota := _quota(folder)) is not None
    ]
    return max(1, min([affinity, *map(math.ceil, quotas)]))


def _cpu_cgroups(root: Path, own_cgroups: Path) -> Iterator[Path]:
    """The folders of this process's cgroups and of those around them, in either version."""
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:cpu:/", *lines]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        inner = PurePosixPath(path).relative_to("/")
        yield from (base / folder for folder in (inner, *inner.parents))


def _quota(cgroup: Path) -> float | None:
    """CPUs as a fraction; None where no quota is set, or no file says so."""
    try:
        quota, _, period = (cgroup / "cpu.max").read_text().partition(" ")
    except OSError:
        try:
            quota = (cgroup / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    return None if quota.strip() in ("max", "-1", "") else int(quota) / int(period)
