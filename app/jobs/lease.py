"""Keeps the lease of a running job, and stops the job where it must not go on."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from app.concurrency.deadline import StopSignal
from app.errors import Aborted, Cancelled, DeliveryEnded, JobError, NotFound
from app.jobs.progress import RecordedProgress
from app.jobs.record import Counts, JobRecord, JobState
from app.jobs.record_json import now
from app.jobs.store import JobStore, Stored

# A cancelled job is stopped after this time at the latest.
HEARTBEAT_SECONDS = 5.0
_SHARE_OF_LEASE = 0.25
_JOIN_SECONDS = 5.0

logger = logging.getLogger(__name__)


class LeaseLost(Aborted):
    """Another instance has taken the job over, or its record is gone."""


class HeldLease:
    """The lease of one run, renewed by a thread while the run goes on.

    The run is stopped with Cancelled if somebody cancels the job, with LeaseLost if the lease is
    another's or cannot be renewed in time, and with DeliveryEnded after `within` seconds.
    """

    def __init__(
        self,
        store: JobStore,
        stored: Stored,
        *,
        lease_seconds: float,
        progress: RecordedProgress,
        stop_signal: StopSignal,
        within: float,
    ) -> None:
        assert stored.record.lease is not None
        self.stored = stored
        self._owner = stored.record.lease.owner
        self._store = store
        self._lease_seconds = lease_seconds
        self._progress = progress
        self._stop_signal = stop_signal
        self._started = time.monotonic()
        self._seconds_before = stored.record.run_seconds
        self._within = within
        self._over = threading.Event()

    @property
    def job_id(self) -> str:
        return self.stored.record.job_id

    @property
    def run_seconds(self) -> float:
        """The seconds of all runs of the job so far, in the precision of records."""
        return round(self._seconds_before + time.monotonic() - self._started, 3)

    def counts(self) -> Counts:
        """The progress of the run."""
        return self._progress.counts()

    def cancel(self) -> None:
        """Stop the run at once."""
        self._stop_signal.stop(Cancelled("the job was cancelled"))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease while the block runs."""
        thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(_JOIN_SECONDS)

    def as_run(self, record: JobRecord) -> JobRecord:
        """The record with the lease renewed, and what the run has done."""
        return record.renewed(now(), self._lease_seconds, self._progress.counts(), self.run_seconds)

    def _keep(self) -> None:
        heartbeat = min(HEARTBEAT_SECONDS, self._lease_seconds * _SHARE_OF_LEASE)
        while True:
            left = self._started + self._within - time.monotonic()
            if left <= 0:
                self._stop_signal.stop(
                    DeliveryEnded(
                        f"the job does not fit into the {self._within:g} s of one delivery; what is"
                        " complete stays, and the next one goes on"
                    )
                )
                left = heartbeat
            if self._over.wait(min(heartbeat, left)):
                return
            if time.monotonic() < self._started + self._within:
                self._beat()

    def _beat(self) -> None:
        stored = self.stored
        try:
            self.stored = self._store.replace(
                stored, self.as_run(stored.record), seconds=self._lease_seconds * _SHARE_OF_LEASE
            )
        except Aborted:
            self._look()
        except JobError as error:
            logger.warning("the lease could not be renewed: %s", error)
            self._stop_if_ending()

    def _look(self) -> None:
        """Find out who has changed the record, and why."""
        try:
            stored = self._store.load(self.job_id)
        except NotFound:
            self._lose("the record of the job is gone")
            return
        except JobError as error:
            logger.warning("the record could not be read: %s", error)
            self._stop_if_ending()
            return
        record = stored.record
        if record.lease is None or record.lease.owner != self._owner:
            self._lose("another instance has taken the job over")
            return
        self.stored = stored
        if record.state is JobState.CANCELLING:
            self.cancel()

    def _stop_if_ending(self) -> None:
        assert self.stored.record.lease is not None
        next_turn = now() + timedelta(seconds=self._lease_seconds * _SHARE_OF_LEASE)
        if next_turn >= self.stored.record.lease.expires:
            self._lose("the lease of the job could not be renewed in time")

    def _lose(self, why: str) -> None:
        self._stop_signal.stop(LeaseLost(f"{why}; this run was stopped"))
