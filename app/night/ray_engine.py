"""Runs jobs as tasks of a Ray cluster that exists, whose nodes have this package too.

Sources: docs.ray.io/en/latest/ray-core/tasks.html, and scheduling/resources.html and
fault_tolerance/tasks.html beside it.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from app.errors import FailedPrecondition, JobError
from app.jobs.record import JobRecord
from app.jobs.record_json import as_json, parse_record
from app.night.engine import Begun, Changed
from app.night.local_engine import MORE_SECONDS, MOST_ATTEMPTS, WORKER_LEASE_SECONDS
from app.night.worker_process import WorkerProcess
from app.settings import Settings
from app.storage import Location, parse_location

# How many times the tasks that the cluster runs at once, so that it always has the next ones.
_SUBMITTED_TIMES = 2
_CONNECT_SECONDS = 10.0
_TURN_SECONDS = 0.5
_JOIN_SECONDS = 30.0
_OTHER_VARIABLES = ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The address of the cluster, `auto` for the one of this node; and what each job asks for:
    CPUs, and bytes of memory.
    """

    address: str
    cpus: float
    memory: int


class RayEngine:
    """Each job is a task of the cluster.

    A task whose node or process is lost is submitted again, once the job's lease has ended. Raises
    FailedPrecondition where Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, records: Location, options: RayOptions, *, job_seconds: float) -> None:
        self._ray = _connected(options.address)
        wanted = {"num_cpus": options.cpus, "memory": options.memory, "max_retries": 0}
        self._task = self._ray.remote(**wanted)(_run_in_worker)
        self._cpus = options.cpus
        self._records = str(records)
        self._answer_seconds = job_seconds + MORE_SECONDS
        self._stopped = threading.Event()
        self._is_ended = False
        self._attempts: Counter[str] = Counter()
        self.errors: list[JobError] = []

    @contextmanager
    def running(
        self, drafts: Sequence[JobRecord], *, begun: Begun, changed: Changed
    ) -> Iterator[list[threading.Thread]]:
        """See Engine. At the end of the block running tasks are cancelled."""
        thread = threading.Thread(target=self._run, args=(drafts, begun, changed), name="ray")
        thread.start()
        try:
            yield [thread]
        finally:
            self._is_ended = True
            self._stopped.set()
            thread.join(_JOIN_SECONDS)
            self._ray.shutdown()

    def begin_no_more(self) -> None:
        self._stopped.set()

    def _run(self, drafts: Sequence[JobRecord], begun: Begun, changed: Changed) -> None:
        waiting = {draft.job_id: (draft, 0.0) for draft in drafts}
        submitted: dict[Any, JobRecord] = {}
        while (waiting and not self._stopped.is_set()) or submitted:
            if self._is_ended:
                for reference in submitted:
                    self._ray.cancel(reference)
            elif not self._stopped.is_set():
                self._submit_due(waiting, submitted, begun)
            if not submitted:
                self._stopped.wait(_TURN_SECONDS)
                continue
            ended, _ = self._ray.wait(list(submitted), timeout=_TURN_SECONDS)
            for reference in ended:
                draft = submitted.pop(reference)
                seconds = self._seconds_to_retry(reference, draft, changed)
                if seconds is not None:
                    waiting[draft.job_id] = (draft, time.monotonic() + seconds)

    def _submit_due(
        self,
        waiting: dict[str, tuple[JobRecord, float]],
        submitted: dict[Any, JobRecord],
        begun: Begun,
    ) -> None:
        now = time.monotonic()
        due = [draft for draft, when in waiting.values() if when <= now]
        slots = self._ray.cluster_resources().get("CPU", 1.0) / self._cpus
        most = max(2, int(slots * _SUBMITTED_TIMES))
        for draft in due[: max(0, most - len(submitted))]:
            del waiting[draft.job_id]
            environment = {**_settings_of_here(), "LEASE_SECONDS": WORKER_LEASE_SECONDS}
            reference = self._task.remote(
                self._records, environment, as_json(draft), self._answer_seconds
            )
            submitted[reference] = draft
            begun(draft.job_id)

    def _seconds_to_retry(self, reference: Any, draft: JobRecord, changed: Changed) -> float | None:
        """None once the job has ended, or was cancelled."""
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            return None
        except self._ray.exceptions.RayError as error:
            logger.warning("job %s is tried again: %s", draft.job_id, type(error).__name__)
            return 1.0
        if answer is None:
            logger.warning("a worker is gone; job %s is tried again", draft.job_id)
            return 1.0
        if "message" in answer:
            self._attempts[draft.job_id] += 1
            logger.warning("job %s is tried again: %s", draft.job_id, answer["message"])
        if "retry_seconds" in answer and self._attempts[draft.job_id] < MOST_ATTEMPTS:
            return float(answer["retry_seconds"])
        changed(parse_record(answer["record"]))
        return None


def _connected(address: str) -> Any:
    try:
        import ray  # noqa: PLC0415  # an extra
    except ImportError:
        raise FailedPrecondition(
            "--on ray needs the package ray: pip install 'embedded-tf[ray]'"
        ) from None
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            # Ray itself ends the process where nothing answers.
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise FailedPrecondition(f"there is no Ray cluster at {address}: {error}") from None
    return ray


def _settings_of_here() -> dict[str, str]:
    """Variables that set up a job, and that nodes of a cluster need not have."""
    names = [*(field.name.upper() for field in fields(Settings)), *_OTHER_VARIABLES]
    return {name: os.environ[name] for name in names if name in os.environ}


def _run_in_worker(
    records: str, environment: dict[str, str], draft: dict[str, Any], seconds: float
) -> dict[str, Any] | None:
    """In a process of the cluster, which keeps its worker for the next task."""
    worker = _worker(records, tuple(sorted(environment.items())))
    try:
        answer = worker.ask(parse_record(draft), None, seconds)
    except BaseException:  # cancelled
        worker.terminate()
        raise
    if answer is None:
        worker.close()
        _worker.cache_clear()
    return answer


@cache
def _worker(records: str, environment: tuple[tuple[str, str], ...]) -> WorkerProcess:
    folder = parse_location(records, parameter="records").as_folder()
    worker = WorkerProcess(folder, {**os.environ, **dict(environment)})
    atexit.register(worker.close)
    return worker
