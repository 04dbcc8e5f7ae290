"""Puts together what jobs that last need, from the settings of an instance."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from app.job.runner import JobRunner
from app.jobs.executor import JobExecutor
from app.jobs.instance_queue import InstanceQueue
from app.jobs.operations import JobOperations
from app.jobs.places import Places
from app.jobs.queue import JobQueue, QueueLimits
from app.jobs.record import JobRecord
from app.jobs.store import JobStore, Stored
from app.settings import Settings
from app.storage import Connections


@dataclass(frozen=True, slots=True)
class Jobs:
    """The operations on jobs, their queue, and that as this instance's own, where it is."""

    operations: JobOperations
    queue: JobQueue
    instance_queue: InstanceQueue | None


def open_jobs(settings: Settings, connections: Connections, runner: JobRunner) -> Jobs | None:
    """None if the instance keeps no records."""
    if settings.jobs_uri is None:
        return None
    store = JobStore(settings.jobs_uri, connections, settings.transfer_limits())
    executor = JobExecutor(settings, store, runner)
    instance_queue = (
        None if settings.queue else InstanceQueue(store, executor, runner, Places(settings))
    )
    queue = instance_queue or _CloudTasksOnDemand(settings, store)
    operations = JobOperations(settings, store, executor, queue, runner)
    return Jobs(operations, queue, instance_queue)


def open_queue(settings: Settings, store: JobStore) -> JobQueue:
    """The queue of a service, for whoever is not one of its instances."""
    return _CloudTasksOnDemand(settings, store)


class _CloudTasksOnDemand:
    """Importing Google's client takes 0.8 s. Instances that only run jobs do not need it."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store

    def submit(self, stored: Stored) -> None:
        self._queue.submit(stored)

    def holds(self, record: JobRecord) -> bool:
        return self._queue.holds(record)

    def call_later(self, path: str, action: Callable[[], None], seconds: float) -> None:
        self._queue.call_later(path, action, seconds)

    def limits(self) -> QueueLimits | None:
        return self._queue.limits()

    def withdraw(self, record: JobRecord) -> None:
        self._queue.withdraw(record)

    @cached_property
    def _queue(self) -> JobQueue:
        from app.jobs.cloud_tasks import CloudTasksQueue  # noqa: PLC0415

        return CloudTasksQueue(self._settings, self._store)
