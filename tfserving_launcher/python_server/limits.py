"""What a forked model server may do."""

import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from tfserving_launcher._confinement import confine_this_thread
from tfserving_launcher._linux import IS_LINUX, prctl

_PR_SET_PDEATHSIG = 1
_SOCKET_FLAG = "--grpc_socket_path="


@dataclass(frozen=True, slots=True)
class Limits:
    """The size of files in bytes, how soon the kernel kills the server when memory runs out
    (proc_pid_oom_score_adj(5)), and the folder that it is confined to, if there is one.
    """

    largest_file_bytes: int
    oom_score_adj: str
    writable_folder: str | None


def limits_of(client: int, arguments: list[str]) -> Limits:
    """Those that the launcher has put on its child."""
    if not IS_LINUX:
        return Limits(resource.RLIM_INFINITY, "", None)
    folder = Path(f"/proc/{client}")
    is_confined = "NoNewPrivs:\t1" in (folder / "status").read_text()
    sockets = [one for one in arguments if one.startswith(_SOCKET_FLAG)]
    own = str(Path(sockets[0].removeprefix(_SOCKET_FLAG)).parent) if sockets else None
    return Limits(
        largest_file_bytes=resource.prlimit(client, resource.RLIMIT_FSIZE)[0],
        oom_score_adj=(folder / "oom_score_adj").read_text(),
        writable_folder=own if is_confined else None,
    )


def apply_limits(limits: Limits) -> None:
    """Put them on this process, which also ends with its parent."""
    if not IS_LINUX:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for kind, wanted in (
        (resource.RLIMIT_FSIZE, limits.largest_file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (allowed, allowed))
    Path("/proc/self/oom_score_adj").write_text(limits.oom_score_adj)
    if limits.writable_folder is not None:
        confine_this_thread(Path(limits.writable_folder))
