"""The command line: `embedded-tf predict`, `inspect` and `serve`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

# What shells give for a program that a signal has ended: 128 and the signal's number.
_ENDED_BY_SIGNAL = 128


class Ended(BaseException):
    """A signal ends the command, through the context managers that clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = _ENDED_BY_SIGNAL + number


def main() -> NoReturn:
    """Runs the command of `sys.argv`, and exits.

    The status is that of the command, or 128 and the number of the signal that has ended it: 130
    for Ctrl-C.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        # The imports take a third of a second, in which Ctrl-C may come as well.
        from app.cli.commands import run  # noqa: PLC0415

        status = run()
    except Ended as ended:
        status = ended.exit_status
    finally:
        # Nobody waits for what the interpreter does at its end, and a second Ctrl-C may come.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
