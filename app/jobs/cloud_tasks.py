"""Google Cloud Tasks as the queue: a task for each job, which posts to `/jobs/<id>:run`.

Source: cloud.google.com/tasks/docs/creating-http-target-tasks and
cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import Any

import grpc
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from app.errors import QueueFailed, shortened
from app.jobs.queue import QueueLimits
from app.jobs.record import JobRecord
from app.jobs.record_json import timestamp
from app.jobs.store import JobStore, Stored
from app.settings import Settings

EMULATOR_VARIABLE = "CLOUD_TASKS_EMULATOR_HOST"
_CALL_SECONDS = 10.0
_RETRY_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_HASH_CHARACTERS = 12
_PASSING = (
    api_exceptions.ResourceExhausted,
    api_exceptions.ServiceUnavailable,
    api_exceptions.DeadlineExceeded,
    api_exceptions.InternalServerError,
    api_exceptions.Aborted,
    auth_exceptions.TransportError,
)

# Answers that say something about a task, and not that the queue has failed.
_ABOUT_A_TASK: dict[str, tuple[type[Exception], ...]] = {
    "create_task": (api_exceptions.AlreadyExists,),
    "get_task": (api_exceptions.NotFound, api_exceptions.PermissionDenied),
    "get_queue": (api_exceptions.NotFound, api_exceptions.PermissionDenied),
}

logger = logging.getLogger(__name__)


class CloudTasksQueue:
    """One queue of Cloud Tasks. `environ` may name an emulator."""

    def __init__(
        self, settings: Settings, store: JobStore, environ: Mapping[str, str] = os.environ
    ) -> None:
        assert settings.queue is not None
        self._queue = settings.queue
        self._settings = settings
        self._store = store
        self._emulator = environ.get(EMULATOR_VARIABLE)

    def submit(self, stored: Stored) -> None:
        """Create the task of the job, unless it is there.

        A name stays taken for hours after its task is gone. So if the name is taken and the task is
        not there, the queue has given the job up, and it gets a task of another name.
        """
        record = stored.record
        if record.state.is_final or self._is_created(record):
            return
        if self.holds(record):
            return
        stored = self._store.change(record.job_id, JobRecord.with_next_task)
        if not stored.record.state.is_final:
            self._is_created(stored.record)

    def withdraw(self, record: JobRecord) -> None:
        try:
            self._client.delete_task(name=self._name_of(record), timeout=_CALL_SECONDS)
        except api_exceptions.NotFound:
            pass  # delivered, or given up
        except (api_exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError) as error:
            # Its delivery will find a job that has ended, or none.
            logger.warning("the task of job %s was not deleted: %s", record.job_id, error)

    def call_later(self, path: str, action: Callable[[], None], seconds: float) -> None:
        del action  # the queue calls an instance
        # All calls for one turn have one name. A call that comes as its turn begins is for the next
        # one, also by a clock that is a little behind.
        turn = math.ceil((time.time() + seconds / 6) / seconds)
        digest = hashlib.sha256(f"{path} {turn}".encode()).hexdigest()[: 2 * _HASH_CHARACTERS]
        task = self._post_to(path, f"{self._queue}/tasks/{digest}")
        task.schedule_time = Timestamp(seconds=math.ceil(turn * seconds))
        with suppress(api_exceptions.AlreadyExists):
            self._call("create_task", parent=self._queue, task=task)

    def limits(self) -> QueueLimits | None:
        try:
            queue = self._call("get_queue", name=self._queue)
        except (api_exceptions.PermissionDenied, api_exceptions.NotFound) as error:
            logger.warning("the limits of the queue cannot be seen: %s", error)
            return None
        return QueueLimits(
            max_concurrent_dispatches=queue.rate_limits.max_concurrent_dispatches,
            max_dispatches_per_second=queue.rate_limits.max_dispatches_per_second,
            max_attempts=queue.retry_config.max_attempts,
            # The library gives a timedelta, whatever its types say.
            max_retry_seconds=queue.retry_config.max_retry_duration.total_seconds(),
        )

    @cached_property
    def _client(self) -> Any:
        if self._emulator is None:
            return tasks_v2.CloudTasksClient()
        # The library reads no such variable.
        channel = grpc.insecure_channel(self._emulator)
        return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    def _is_created(self, record: JobRecord) -> bool:
        """Create the task; False if its name is taken. Raises QueueFailed."""
        try:
            self._call("create_task", parent=self._queue, task=self._task_of(record))
        except api_exceptions.AlreadyExists:
            return False
        return True

    def holds(self, record: JobRecord) -> bool:
        try:
            self._call("get_task", name=self._name_of(record))
        except api_exceptions.NotFound:
            return False
        except api_exceptions.PermissionDenied as error:
            # Whoever may create tasks need not be allowed to see them.
            logger.warning("whether job %s has a task cannot be seen: %s", record.job_id, error)
        return True

    def _call(self, method: str, **request: Any) -> Any:
        """Call a method of the client, with retries. Raises _ABOUT_A_TASK, and QueueFailed."""
        retrying = Retrying(
            retry=retry_if_exception_type(_PASSING),
            wait=wait_random_exponential(_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
            stop=stop_after_delay(_RETRY_SECONDS),
            reraise=True,
        )
        try:
            call = getattr(self._client, method)
            return retrying(call, **request, retry=None, timeout=_CALL_SECONDS)
        except (api_exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError) as error:
            if isinstance(error, _ABOUT_A_TASK.get(method, ())):
                raise
            raise QueueFailed(f"{self._queue}: {shortened(str(error), 300)}") from None

    def _task_of(self, record: JobRecord) -> tasks_v2.Task:
        return self._post_to(f"/jobs/{record.job_id}:run", self._name_of(record))

    def _post_to(self, path: str, name: str) -> tasks_v2.Task:
        settings = self._settings
        request = tasks_v2.HttpRequest(
            url=f"{settings.service_url}{path}",
            http_method=tasks_v2.HttpMethod.POST,
        )
        if settings.service_account is not None:
            request.oidc_token = tasks_v2.OidcToken(
                service_account_email=settings.service_account, audience=settings.service_url
            )
        deadline = Duration()
        deadline.FromTimedelta(timedelta(seconds=settings.dispatch_deadline_seconds))
        return tasks_v2.Task(name=name, http_request=request, dispatch_deadline=deadline)

    def _name_of(self, record: JobRecord) -> str:
        """Begins with a hash, because names in sequence slow a queue.

        The job's time of creation is in the hash: a new job with the id of a deleted one is another
        task.
        """
        text = f"{record.job_id} {timestamp(record.create_time)} {record.tasks}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]
        return f"{self._queue}/tasks/{digest}-{record.job_id}"
