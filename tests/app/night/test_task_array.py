"""A task array's parts: the same in each task, and about as many bytes in each."""

from random import Random

import pytest

from app.errors import InvalidArgument
from app.night.task_array import TaskArray, task_array
from tests.app.night.night_values import surveyed


@pytest.mark.parametrize(
    ("environ", "array"),
    [
        ({"CLOUD_RUN_TASK_INDEX": "2", "CLOUD_RUN_TASK_COUNT": "4"}, TaskArray(2, 4)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, TaskArray(0, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_COUNT": "8",
            },
            TaskArray(4, 8),
        ),
    ],
)
def test_platforms_tell_a_task_its_index(environ: dict[str, str], array: TaskArray) -> None:
    assert task_array(environ) == array


def test_kubernetes_does_not_tell_the_count() -> None:
    environ = {"JOB_COMPLETION_INDEX": "1"}
    with pytest.raises(InvalidArgument, match="--array-count"):
        task_array(environ)
    assert task_array(environ, count=2) == TaskArray(1, 2)
    assert task_array({}, index=0, count=2) == TaskArray(0, 2)


@pytest.mark.parametrize("first", ["", "x", "9" * 30])
def test_variables_that_are_no_numbers_are_told(first: str) -> None:
    environ = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": first}
    with pytest.raises(InvalidArgument, match="SLURM_ARRAY_TASK_MIN"):
        task_array(environ, count=9)


def test_the_first_index_is_that_of_slurm_alone() -> None:
    environ = {"CLOUD_RUN_TASK_INDEX": "1", "SLURM_ARRAY_TASK_MIN": "1"}
    assert task_array(environ, count=2).index == 1


@pytest.mark.parametrize(("index", "count"), [(None, 2), (2, 2), (0, 10**8)])
def test_a_task_needs_a_place_in_the_array(index: int | None, count: int) -> None:
    with pytest.raises(InvalidArgument):
        task_array({}, index=index, count=count)


def test_each_job_is_in_one_part_and_the_parts_are_balanced() -> None:
    random = Random(1)
    jobs = [surveyed(f"j{n}", size=random.choice([0, 10, 1000, 50_000])) for n in range(200)]
    parts = [TaskArray(index, 7).part_of(jobs) for index in range(7)]
    names = [one.job.name for part in parts for one in part]
    assert sorted(names) == sorted(one.job.name for one in jobs)
    sizes = [sum(one.size for one in part) for part in parts]
    assert max(sizes) - min(sizes) <= 50_000
    random.shuffle(jobs)
    assert [TaskArray(index, 7).part_of(jobs) for index in range(7)] == parts


def test_empty_inputs_are_shared_too() -> None:
    jobs = [surveyed(f"j{n}") for n in range(8)]
    assert [len(TaskArray(index, 4).part_of(jobs)) for index in range(4)] == [2, 2, 2, 2]
