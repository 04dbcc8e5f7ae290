"""What a model server is kept from: it runs a model, and a model is a program of somebody else.

A domain of Landlock and a filter of system calls belong to a thread, and to all processes that it
starts. So a thread that does nothing else confines itself and then starts the server: no code of
ours has to run between fork and exec.
"""

import logging
import resource
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tfserving_launcher._errors import ConfinementFailed
from tfserving_launcher._landlock import landlock_abi, restrict_writing
from tfserving_launcher._linux import IS_LINUX, PR_SET_NO_NEW_PRIVS, drop_capabilities, prctl
from tfserving_launcher._socket_filter import forbid_network

# The first to be killed when memory runs out (proc_pid_oom_score_adj(5)).
FIRST_TO_BE_KILLED = "1000"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the kernel had to confine a program with. `landlock_abi` is 0 where it had none."""

    landlock_abi: int
    has_no_network: bool


def confine_this_thread(writable_folder: Path) -> Confinement:
    """Takes from this thread, for good, all writing outside `writable_folder`, the network, root's
    capabilities and the way to more privileges, as far as the kernel can. Raises ConfinementFailed.
    """
    if not IS_LINUX:
        return Confinement(landlock_abi=0, has_no_network=False)
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        drop_capabilities()
        abi = landlock_abi()
        if abi > 0:
            restrict_writing(writable_folder, abi)
        return Confinement(abi, has_no_network=forbid_network())
    except OSError as error:
        raise ConfinementFailed(
            f"the model server cannot be confined on this system: {error.strerror};"
            " it can run without that: confine=False, or CONFINE_MODEL=false for the service"
        ) from error


@cache
def tell_once(confinement: Confinement | None) -> None:
    """Logs how programs are confined here. None: not at all, because that is what was asked for."""
    if confinement is None:
        logger.warning("the model server is not confined, as is asked for")
        return
    if confinement.landlock_abi:
        files = f"writes in its own folder only (Landlock ABI {confinement.landlock_abi})"
    else:
        files = "may write wherever this process may: the kernel has no Landlock"
    network = "has no network" if confinement.has_no_network else "may use the network"
    is_complete = confinement.landlock_abi and confinement.has_no_network
    logger.log(
        logging.INFO if is_complete else logging.WARNING,
        "the model server %s, and %s",
        files,
        network,
    )


def limit(pid: int, largest_file_bytes: int) -> None:
    """Bounds the files of a child, leaves it no core dump, and has it killed first when memory runs
    out. What it starts inherits all of that.
    """
    if not IS_LINUX:
        return
    try:
        for kind, wanted in (
            (resource.RLIMIT_FSIZE, largest_file_bytes),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.prlimit(pid, kind)
            allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, kind, (allowed, allowed))
        Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_BE_KILLED)
    except (ProcessLookupError, FileNotFoundError):
        logger.debug("process %d has ended before it was limited", pid)
    except OSError as error:
        logger.warning("the model server cannot be limited: %s", error.strerror)
