"""Whether a queue, the service that it calls, and its jobs fit each other.

Their defaults do not: a queue dispatches up to 1,000 tasks at once and waits 10 minutes for an
answer, where a service of 100 instances with one job each refuses all but 100, and ends a request
after 5 minutes. Sources: cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues,
cloud.google.com/run/docs/configuring/request-timeout and about-concurrency beside it.
"""

from dataclasses import dataclass

from app.errors import FailedPrecondition
from app.jobs.queue import UNLIMITED, QueueLimits
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class LimitsCheck:
    """What would go wrong, what may, and what could not be checked."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    def refuse_problems(self) -> None:
        """Raise FailedPrecondition if there are any."""
        if self.problems:
            raise FailedPrecondition(
                f"the queue and the service do not fit: {'; '.join(self.problems)}",
                {"problems": list(self.problems)},
            )


def check_limits(settings: Settings, queue: QueueLimits | None) -> LimitsCheck:
    """`queue` None is one whose limits cannot be seen."""
    problems, warnings = [], []
    deadline, request = settings.dispatch_deadline_seconds, settings.request_timeout_seconds
    if request is None:
        warnings.append("REQUEST_TIMEOUT_SECONDS is not set, so it was not checked")
    elif deadline > request:
        problems.append(
            f"the platform ends a request after {request:g} s (REQUEST_TIMEOUT_SECONDS), before the"
            f" {deadline:g} s of DISPATCH_DEADLINE_SECONDS"
        )
    if settings.job_timeout_seconds > deadline:
        warnings.append(
            f"a job may take {settings.job_timeout_seconds:g} s (JOB_TIMEOUT_SECONDS) and a"
            f" delivery {deadline:g} s: a longer job goes on in the next delivery with the files"
            " that are left, and one with a file that takes longer never ends"
        )
    if queue is None:
        warnings.append("the limits of the queue cannot be seen, so they were not checked")
        return LimitsCheck(tuple(problems), tuple(warnings))
    if settings.max_instances is None:
        warnings.append("MAX_INSTANCES is not set, so it was not checked")
    elif queue.max_concurrent_dispatches > settings.max_instances:
        problems.append(
            f"the queue delivers {queue.max_concurrent_dispatches} jobs at once, and"
            f" {settings.max_instances} instances (MAX_INSTANCES) take one each: the others are"
            " answered 429, which slows the queue down"
        )
    if queue.max_attempts != UNLIMITED and queue.max_attempts <= settings.max_attempts:
        problems.append(
            f"the queue gives a job up after {queue.max_attempts} deliveries, and MAX_ATTEMPTS"
            f" allows {settings.max_attempts} runs; deliveries to a busy instance count as well"
        )
    if 0 < queue.max_retry_seconds < settings.job_timeout_seconds:
        problems.append(
            f"the queue gives a job up after {queue.max_retry_seconds:g} s, before the"
            f" {settings.job_timeout_seconds:g} s of JOB_TIMEOUT_SECONDS"
        )
    return LimitsCheck(tuple(problems), tuple(warnings))
