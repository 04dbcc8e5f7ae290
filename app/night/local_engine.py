"""Runs jobs on this machine, in worker processes."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from app.errors import JobError
from app.jobs.record import JobRecord
from app.jobs.record_json import parse_record
from app.night.engine import Begun, Changed
from app.night.schedule import Refill, Schedule
from app.night.worker_process import WorkerProcess
from app.storage import Location
from tfserving_launcher import (
    FORK_SERVER_VARIABLE,
    available_cpus,
    fork_server,
    memory_left,
    needs_stand_in,
)

# A worker that is killed is gone at once, so its job need not wait for long.
WORKER_LEASE_SECONDS = "10"
# Beyond a job's own time: for its clean-up, and for storage that is slow with its record.
MORE_SECONDS = 300.0
_JOIN_SECONDS = 30.0
# A server without its model, a worker with its rows, and a small model.
_WORKER_BYTES = 500 * 1024 * 1024
_MOST_WORKERS = 1000
MOST_ATTEMPTS = 20
_MOST_REFILLS = 5
_REFILL_PAUSE_SECONDS = 2.0

logger = logging.getLogger(__name__)


@contextmanager
def forked_model_servers() -> Iterator[None]:
    """In the block, model servers are forked from one process, where a stand-in serves.

    That process imports TensorFlow, for which nobody waits who does something else meanwhile.
    """
    if FORK_SERVER_VARIABLE in os.environ or not needs_stand_in():
        yield
        return
    with fork_server() as path:
        os.environ[FORK_SERVER_VARIABLE] = str(path)
        try:
            yield
        finally:
            del os.environ[FORK_SERVER_VARIABLE]


def workers_that_fit() -> int:
    """One more than the CPUs, since the start of a server waits more than it computes; fewer where
    memory is scarce.
    """
    memory = memory_left()
    by_memory = _MOST_WORKERS if memory is None else memory.left // _WORKER_BYTES
    return max(1, min(available_cpus() + 1, by_memory))


class LocalEngine:
    """Some worker processes, each of which runs one job at a time.

    A worker is told its next job ahead, and loads the model of that one meanwhile.
    A worker that dies is replaced, and its job tried again once its lease has ended. So is one that
    has not answered long after `job_seconds`, the most that a job may take. For `refill` see
    Schedule.
    """

    def __init__(
        self,
        records: Location,
        workers: int,
        *,
        job_seconds: float,
        refill: Refill = lambda: (),
    ) -> None:
        self._records = records
        self._answer_seconds = job_seconds + MORE_SECONDS
        self._workers = workers
        self._refill = refill
        self._running: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._schedule = Schedule(())
        self._is_terminated = False
        self._attempts: Counter[str] = Counter()
        self.errors: list[JobError] = []

    @contextmanager
    def running(
        self, drafts: Sequence[JobRecord], *, begun: Begun, changed: Changed
    ) -> Iterator[list[threading.Thread]]:
        """See Engine. At the end of the block running jobs are stopped and given back."""
        self._schedule = Schedule(drafts, self._more)
        environment = {**os.environ, "LEASE_SECONDS": WORKER_LEASE_SECONDS}
        threads = [
            threading.Thread(
                target=self._work, args=(environment, begun, changed), name=f"worker-{n}"
            )
            for n in range(self._workers)
        ]
        try:
            for thread in threads:
                thread.start()
            yield threads
        finally:
            self._end(threads)

    def begin_no_more(self) -> None:
        self._schedule.stop()

    def _work(self, environment: Mapping[str, str], begun: Begun, changed: Changed) -> None:
        worker: WorkerProcess | None = None
        following: JobRecord | None = None
        while (draft := following or self._schedule.take()) is not None:
            if self._schedule.is_stopped:
                self._schedule.done()
                break
            if worker is None:
                worker = self._start(environment)
            following = self._schedule.take_ahead(self._workers)
            begun(draft.job_id)
            answer = worker.ask(draft, following, self._answer_seconds)
            if answer is None:
                self._forget(worker)
                worker = None
                if self._is_terminated:
                    self._schedule.done()
                    if following is not None:
                        self._schedule.done()
                    return
                logger.warning("a worker is gone; job %s is tried again", draft.job_id)
                self._schedule.again(draft, 1.0)
            elif "retry_seconds" in answer and self._may_retry(draft, answer):
                self._schedule.again(draft, float(answer["retry_seconds"]))
            else:
                changed(parse_record(answer["record"]))
                self._schedule.done()
        if worker is not None:
            self._forget(worker)

    def _may_retry(self, draft: JobRecord, answer: Mapping[str, Any]) -> bool:
        """Whether a job that could not be begun is tried again: not for ever."""
        if "message" not in answer:
            return True  # another process runs it
        self._attempts[draft.job_id] += 1
        logger.warning("job %s is tried again: %s", draft.job_id, answer["message"])
        return self._attempts[draft.job_id] < MOST_ATTEMPTS

    def _more(self) -> Sequence[tuple[JobRecord, float]]:
        """More jobs. Storage that fails for long ends the schedule."""
        retrying = Retrying(
            retry=retry_if_exception_type(JobError),
            wait=wait_fixed(_REFILL_PAUSE_SECONDS),
            stop=stop_after_attempt(_MOST_REFILLS),
            reraise=True,
        )
        try:
            return retrying(self._refill)
        except JobError as error:
            self.errors.append(error)
            return ()

    def _start(self, environment: Mapping[str, str]) -> WorkerProcess:
        worker = WorkerProcess(self._records, environment)
        with self._lock:
            self._running.add(worker)
            if self._is_terminated:
                worker.terminate()
        return worker

    def _forget(self, worker: WorkerProcess) -> None:
        worker.close()
        with self._lock:
            self._running.discard(worker)

    def _end(self, threads: Iterable[threading.Thread]) -> None:
        self._schedule.stop()
        with self._lock:
            self._is_terminated = True
            for worker in self._running:
                worker.terminate()
        for thread in threads:
            thread.join(_JOIN_SECONDS)
