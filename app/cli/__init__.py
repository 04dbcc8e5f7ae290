"""The command line: `embedded-tf predict`, `inspect` and `serve`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# What shells give for a program that a signal has ended: 128 and the signal's number.
_ENDED_BY_SIGNAL = 128


class Ended(BaseException):
    """A signal ends the command, through the context managers that clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = _ENDED_BY_SIGNAL + number


@contextmanager
def signals_unwind() -> Iterator[None]:
    """In the block, a signal raises Ended, so that context managers clean up."""
    _on_signal(_unwind)
    try:
        yield
    finally:
        _on_signal(_exit_at_once)


def _on_signal(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(_ENDED_BY_SIGNAL + number)


def _unwind(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)


def main() -> NoReturn:
    """Runs the command of `sys.argv`, and exits.

    The status is that of the command, or 128 and the number of the signal that has ended it: 130
    for Ctrl-C.
    """
    # Nothing is to be cleaned up while modules are imported, and a library that is half imported
    # does not take an exception well.
    _on_signal(_exit_at_once)
    from app.cli.commands import run  # noqa: PLC0415

    try:
        status = run()
    except Ended as ended:
        status = ended.exit_status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
