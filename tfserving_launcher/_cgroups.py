"""The control groups of this process.

Source: cgroups(7), for /proc/self/cgroup in either version.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def cgroups_of(
    controller: str, root: Path = CGROUP_ROOT, own_cgroups: Path = OWN_CGROUPS
) -> Iterator[Path]:
    """The folders of this process's groups and their parents, innermost first.

    In a container, the innermost visible one may be the root.
    """
    try:
        lines = own_cgroups.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", f"0:{controller}:/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        inner = PurePosixPath(path).relative_to("/")
        yield from (base / folder for folder in (inner, *inner.parents))
