"""What this process is to the models that it runs.

Source: prctl(2), proc_pid_environ(5).
"""

from tfserving_launcher import adopt_orphans
from tfserving_launcher.linux import IS_LINUX, PR_SET_DUMPABLE, prctl


def close_to_models() -> None:
    """Closes the memory, the environment and the descriptors of this process to others of its user.

    What it forks is closed as well; a program that is executed opens itself again. It also becomes
    the parent of what its model servers leave, which a fork does not inherit. Only on Linux.
    """
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 0)
        adopt_orphans()
