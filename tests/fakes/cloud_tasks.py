"""Cloud Tasks as its documentation describes it, over its real gRPC service, and worse.

It delivers tasks at least once, with backoff, and deletes those whose attempts have run out. Names
of tasks stay taken. Answers of 429 and 503 slow the whole queue down; a new queue begins slowly.
What it may do, and seldom does, it does here as often as `Mischief` says.

Source: cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2, and common-pitfalls and
manage-cloud-task-scaling beside it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import grpc
import requests
from google.cloud.tasks_v2.types import cloudtasks
from google.cloud.tasks_v2.types import queue as queues
from google.cloud.tasks_v2.types import task as tasks
from google.protobuf.empty_pb2 import Empty

_SERVICE = "google.cloud.tasks.v2.CloudTasks"
_FIRST_RATE = 4.0
_SLOWED_RATE = 2.0
_MOST_WORKERS = 32


@dataclass(frozen=True, slots=True)
class Mischief:
    """How often a delivery comes twice at once, late, or again after success, and how often an
    answer is not heard; from 0 to 1. `seed` makes it repeatable as far as threads allow.
    """

    twice: float = 0.0
    late: float = 0.0
    again: float = 0.0
    unheard: float = 0.0
    late_seconds: float = 1.0
    seed: int = 1


@dataclass(slots=True)
class _Waiting:
    task: tasks.Task
    due: float
    attempts: int = 0


@dataclass(slots=True)
class FakeCloudTasks:
    """One queue. `front_end` gives the address of an instance for each delivery.

    `rate` is the most deliveries a second; a new queue begins with a few, and doubles. A paused
    queue delivers nothing. `denied` names methods that the caller's account may not call.
    """

    front_end: Callable[[], str]
    mischief: Mischief = field(default_factory=Mischief)
    max_attempts: int = 100
    min_backoff: float = 0.05
    max_backoff: float = 2.0
    rate: float = 200.0
    max_concurrent_dispatches: int = _MOST_WORKERS
    is_paused: bool = False
    address: str = ""
    created: list[tasks.Task] = field(default_factory=list)
    deliveries: list[tuple[str, int]] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    refusals: list[grpc.StatusCode | None] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: bool = False
    _slow_until: float = 0.0
    _lives: int = 1
    _is_dead: bool = False
    _server: Any = None
    _random: Random = field(default_factory=Random)

    def refuse(self, *codes: grpc.StatusCode | None) -> None:
        """The next calls are answered with these codes of gRPC; None lets one never be answered."""
        with self._changed:
            self.refusals.extend(codes)

    def is_idle(self) -> bool:
        with self._changed:
            return not self._waiting and not self._running

    def open(self) -> None:
        """Answer calls, on the same address after a death."""
        server = grpc.server(futures.ThreadPoolExecutor(8))
        methods: dict[str, tuple[Any, Any, Any]] = {
            "CreateTask": (self.create_task, cloudtasks.CreateTaskRequest, tasks.Task.serialize),
            "GetQueue": (self.get_queue, cloudtasks.GetQueueRequest, queues.Queue.serialize),
            "GetTask": (self.get_task, cloudtasks.GetTaskRequest, tasks.Task.serialize),
            "DeleteTask": (
                self.delete_task,
                cloudtasks.DeleteTaskRequest,
                Empty.SerializeToString,
            ),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=kind.deserialize, response_serializer=serialize
            )
            for name, (method, kind, serialize) in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        port = server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        server.start()
        self._server = server

    def close(self) -> None:
        self._server.stop(0).wait()

    def die(self, seconds: float) -> None:
        """Be gone for some seconds, and come back with the tasks. Answers meanwhile are unheard."""
        with self._changed:
            self._is_dead = True
            self._lives += 1
        self.close()
        threading.Event().wait(seconds)
        self.open()
        with self._changed:
            self._is_dead = False

    # The service

    def create_task(self, request: Any, context: grpc.ServicerContext) -> tasks.Task:
        self._refuse(context, "CreateTask")
        task: tasks.Task = request.task
        with self._changed:
            if task.name in self._names:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
            self._names.add(task.name)
            self.created.append(task)
            after: Any = task.schedule_time  # a datetime, whatever the library's types say
            pause = (after - datetime.now(UTC)).total_seconds() if after else 0.0
            self._waiting[task.name] = _Waiting(task, time.monotonic() + max(0.0, pause))
            self._changed.notify()
        return task

    def get_queue(self, request: Any, context: grpc.ServicerContext) -> queues.Queue:
        self._refuse(context, "GetQueue")
        return queues.Queue(
            name=request.name,
            rate_limits=queues.RateLimits(
                max_concurrent_dispatches=self.max_concurrent_dispatches,
                max_dispatches_per_second=self.rate,
            ),
            retry_config=queues.RetryConfig(max_attempts=self.max_attempts),
        )

    def get_task(self, request: Any, context: grpc.ServicerContext) -> tasks.Task:
        self._refuse(context, "GetTask")
        with self._changed:
            waiting = self._waiting.get(request.name)
        if waiting is None and request.name not in self._running:
            context.abort(grpc.StatusCode.NOT_FOUND, "The task does not exist.")
        return tasks.Task(name=request.name)

    def delete_task(self, request: Any, context: grpc.ServicerContext) -> Empty:
        self._refuse(context, "DeleteTask")
        with self._changed:
            if self._waiting.pop(request.name, None) is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "The task does not exist.")
        return Empty()

    def _refuse(self, context: grpc.ServicerContext, method: str) -> None:
        if method in self.denied:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"lacks {method}")
        with self._changed:
            if not self.refusals:
                return
            code = self.refusals.pop(0)
        if code is None:
            threading.Event().wait(context.time_remaining())
        context.abort(code or grpc.StatusCode.UNAVAILABLE, "injected")

    # The queue

    def serve(self) -> None:
        """Deliver what is due, until `stop`."""
        started = time.monotonic()
        with futures.ThreadPoolExecutor(_MOST_WORKERS) as pool:
            while True:
                with self._changed:
                    if self._stopped:
                        return
                    waiting = self._take_due()
                if waiting is None:
                    time.sleep(0.005)
                    continue
                copies = 2 if self._random.random() < self.mischief.twice else 1
                for _ in range(copies):
                    pool.submit(self._deliver, waiting)
                now = time.monotonic()
                ramp = _FIRST_RATE * 2 ** (now - started)
                rate = _SLOWED_RATE if now < self._slow_until else min(self.rate, ramp)
                time.sleep(1 / rate)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True

    def _take_due(self) -> _Waiting | None:
        now = time.monotonic()
        due = [one for one in self._waiting.values() if one.due <= now]
        if self.is_paused or self._is_dead:
            due = []
        if not due:
            return None
        waiting = self._random.choice(due)  # in no order
        if self._random.random() < self.mischief.late:
            waiting.due = now + self.mischief.late_seconds
            return None
        del self._waiting[waiting.task.name]
        self._running.add(waiting.task.name)
        return waiting

    def _deliver(self, waiting: _Waiting) -> None:
        name, life = waiting.task.name, self._lives
        status = self._post(waiting)
        if status in (429, 503):
            self._slow_until = time.monotonic() + 0.2
        is_heard = self._random.random() >= self.mischief.unheard and life == self._lives
        again = self._random.random() < self.mischief.again
        with self._changed:
            self.deliveries.append((name, status))
            self._running.discard(name)
            waiting.attempts += 1
            if 200 <= status < 300 and is_heard and not again:
                self._waiting.pop(name, None)
                return
            if waiting.attempts >= self.max_attempts:
                self.given_up.append(name)
                return
            pause = min(self.max_backoff, self.min_backoff * 2 ** min(waiting.attempts, 10))
            waiting.due = time.monotonic() + pause
            self._waiting[name] = waiting

    def _post(self, waiting: _Waiting) -> int:
        """The status of the answer, 0 for none within the dispatch deadline."""
        request = waiting.task.http_request
        path = "/" + request.url.split("/", 3)[3]
        headers = {
            "X-CloudTasks-TaskName": waiting.task.name.rpartition("/")[2],
            "X-CloudTasks-TaskRetryCount": str(waiting.attempts),
        }
        if request.oidc_token.service_account_email:
            headers["Authorization"] = f"Bearer for-{request.oidc_token.service_account_email}"
        # The library gives a timedelta, whatever its types say.
        deadline: Any = waiting.task.dispatch_deadline
        try:
            answer = requests.post(
                self.front_end() + path,
                data=request.body,
                headers=headers,
                timeout=deadline.total_seconds(),
            )
        except requests.RequestException:
            return 0
        return answer.status_code


@contextmanager
def fake_cloud_tasks(queue: FakeCloudTasks) -> Iterator[FakeCloudTasks]:
    """The queue's service on a free port of the loopback address, while the block runs."""
    queue._random = Random(queue.mischief.seed)
    queue.open()
    thread = threading.Thread(target=queue.serve, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.stop()
        thread.join()
        queue.close()
