"""Publishes the outputs of a job behind the prediction of its later files.

A small output is one request, and waiting for each would take most of the time of a job with many
files. So a few are on their way at once, bounded by their number and by what they hold in memory.
They are reported in the order of their files, and so are their errors.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.concurrency.deadline import Started
from app.errors import Aborted, JobError, TransferBroken
from app.job.context import JobContext
from app.job.predict_file import FilePrediction
from app.settings import MEBIBYTE
from app.telemetry.report import FileReport

_MOST_OUTPUTS = 16
_MOST_BYTES = 8 * MEBIBYTE
# For outputs that are on their way when the job is stopped: storage answers, or tells what it has.
_GRACE_SECONDS = 3.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Output:
    """An output on its way. `held_bytes` are in memory until it is there."""

    prediction: FilePrediction
    published: Started[FileReport]
    held_bytes: int


class Publisher:
    """The outputs of one job that are on their way, in the order of their files."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._under_way: deque[_Output] = deque()
        # Whether the file that was settled last has an error, which comes before those of others.
        self._has_failed = False

    def publish(self, prediction: FilePrediction) -> None:
        """Begin to publish the next file. Raises the error of an earlier one."""
        started = self._job.deadline.start(prediction.publish)
        self._under_way.append(_Output(prediction, started, prediction.held_bytes))
        while self._is_full() or (self._under_way and self._under_way[0].published.has_ended):
            self._settle_first()

    def check(self) -> None:
        """Raise the error of the first file under way, unless predicting it again may help."""
        failure = self._under_way[0].published.failure if self._under_way else None
        if failure is not None and not isinstance(failure, TransferBroken):
            self._has_failed = True
            raise failure

    def settle(self) -> None:
        """Wait for all outputs. Raises the error of the first file that has one, and only that."""
        while self._under_way and not self._has_failed:
            self._settle_first()

    def report_the_rest(self) -> None:
        """After an error: wait for what is on its way, and report what is there by then."""
        give_up = time.monotonic() + _GRACE_SECONDS
        for output in self._under_way:
            try:
                grace_seconds = max(0.0, give_up - time.monotonic())
                self._job.done.add(output.published.result(grace_seconds))
            except JobError as error:
                logger.warning("%s", error)
            except Exception:
                # The error that ends the job came first.
                logger.exception("an output could not be published")
        self._under_way.clear()

    def _is_full(self) -> bool:
        held = sum(output.held_bytes for output in self._under_way)
        return len(self._under_way) > _MOST_OUTPUTS or (
            len(self._under_way) > 1 and held > _MOST_BYTES
        )

    def _settle_first(self) -> None:
        # An output whose wait is ended by the deadline stays among those that are under way.
        output = self._under_way[0]
        self._has_failed = True
        try:
            report = output.published.result(grace_seconds=0.0)
        except TransferBroken as broken:
            report = output.prediction.predict_again(broken)
        self._under_way.popleft()
        self._job.done.add(report)
        self._job.progress.files(**self._job.done.counts())
        output.prediction.clean_up()
        self._has_failed = False


@contextmanager
def publisher(job: JobContext) -> Iterator[Publisher]:
    """All outputs are settled when the block ends.

    If a file fails, those before it are still settled, and the first error in their order is
    raised.
    """
    outputs = Publisher(job)
    try:
        try:
            yield outputs
        except Exception:
            outputs.settle()
            raise
        outputs.settle()
    except BaseException as error:
        if not isinstance(error, Exception):
            # Somebody has interrupted the program, and waits for its end.
            job.deadline.stop_signal.stop(Aborted("the job was interrupted"))
        outputs.report_the_rest()
        raise
