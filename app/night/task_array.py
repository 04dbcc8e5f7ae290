"""A task array shares a run: each task has its part, and takes over what nobody has begun.

Each platform gives a task its index and the number of tasks in its environment. Sources:
cloud.google.com/run/docs/container-contract#jobs-env-vars, kubernetes.io/docs/concepts/workloads/
controllers/job (Indexed), docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html, and
slurm.schedmd.com/job_array.html.
"""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.errors import InvalidArgument
from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.night.run_night import Night
from app.night.survey import Readiness, SurveyedJob

_INDEXES = (
    "CLOUD_RUN_TASK_INDEX",
    "JOB_COMPLETION_INDEX",
    "AWS_BATCH_JOB_ARRAY_INDEX",
    "SLURM_ARRAY_TASK_ID",
)
_FIRST_INDEX = "SLURM_ARRAY_TASK_MIN"
_MOST_TASKS = 100_000
_MOST_DIGITS = 18
_COUNTS = ("CLOUD_RUN_TASK_COUNT", "AWS_BATCH_JOB_ARRAY_SIZE", "SLURM_ARRAY_TASK_COUNT")


@dataclass(frozen=True, slots=True)
class TaskArray:
    """The index of this task, from 0, and the number of tasks."""

    index: int
    count: int

    def names_of_part(self, jobs: Sequence[SurveyedJob]) -> frozenset[str]:
        """Its part of those that can run."""
        ready = [one for one in jobs if one.readiness is Readiness.READY]
        return frozenset(one.job.name for one in self.part_of(ready))

    def part_of(self, jobs: Sequence[SurveyedJob]) -> list[SurveyedJob]:
        """Its part of the jobs: the same in each call, and about as many bytes as others.

        The largest job goes to the task with the least so far (longest processing time first).
        """
        ordered = sorted(jobs, key=lambda one: (-one.size, one.job.name))
        loads = [(0, index) for index in range(self.count)]
        part = []
        for one in ordered:
            load, index = loads[0]
            # An empty input costs the start of a server all the same.
            heapq.heapreplace(loads, (load + max(one.size, 1), index))
            if index == self.index:
                part.append(one)
        return part


def task_array(
    environ: Mapping[str, str], *, index: int | None = None, count: int | None = None
) -> TaskArray:
    """The array that `environ` tells of, or the given numbers. Raises InvalidArgument."""
    if index is None:
        name, index = _number(environ, _INDEXES, "--array-index")
        if name.startswith("SLURM_"):
            index -= _number(environ, (_FIRST_INDEX,), "--array-index")[1]
    if count is None:
        _, count = _number(environ, _COUNTS, "--array-count")
    if not 0 <= index < count <= _MOST_TASKS:
        raise InvalidArgument(
            f"the index of a task must be below their count, and that at most {_MOST_TASKS:,}:"
            f" {index} and {count}; indexes with gaps need --array-index and --array-count"
        )
    return TaskArray(index, count)


@dataclass(frozen=True, slots=True)
class Takeover:
    """Gives a task that has done its part those of the `chosen` jobs that others have not begun, or
    have left.

    A job that another task runs comes once that one's lease ends, so that a task that was killed
    is replaced by those that live.
    """

    night: Night
    chosen: Sequence[SurveyedJob]
    most: int

    def __call__(self) -> list[tuple[JobRecord, float]]:
        time = now()
        records = self.night.records()
        waiting = []
        for one in self.chosen:
            draft = replace(self.night.draft(one), create_time=time, update_time=time)
            record = records.get(draft.job_id)
            if record is None:
                waiting.append((draft, 0.0))
            elif not record.state.is_final:
                due = record.lease.expires if record.lease else record.retry_time or time
                waiting.append((draft, max(0.0, (due - time).total_seconds())))
        # Tasks that all took the first ones would meet at each of them.
        random.shuffle(waiting)
        return sorted(waiting, key=lambda item: item[1])[: self.most]


def _number(environ: Mapping[str, str], names: Sequence[str], option: str) -> tuple[str, int]:
    """The first variable that is a number, and its value."""
    for name in names:
        text = environ.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS:
            return name, int(text)
    raise InvalidArgument(f"no task array: none of {', '.join(names)} is set; give {option}")
