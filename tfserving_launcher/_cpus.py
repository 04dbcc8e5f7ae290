"""How many CPUs this process may really use."""

import math
import os
from pathlib import Path

from tfserving_launcher._cgroups import CGROUP_ROOT, OWN_CGROUPS, cgroups_of


def available_cpus(cgroup_root: Path = CGROUP_ROOT, own_cgroups: Path = OWN_CGROUPS) -> int:
    """Whole CPUs, at least 1: the smaller of the scheduler's affinity and the cgroups' quotas.

    The model server counts the affinity alone, so in a container limited by quota it would start
    too many threads. The quota is rounded up: 1.5 CPUs keep two threads busy.
    Source of the formats: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max),
    Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [
        quota
        for folder in cgroups_of("cpu", cgroup_root, own_cgroups)
        if (quota := _quota(folder)) is not None
    ]
    return max(1, min([affinity, *map(math.ceil, quotas)]))


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
