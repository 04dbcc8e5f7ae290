"""What is there before a run: the model and the inputs of each job, and where its outputs go."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from app.concurrency.deadline import Deadline
from app.concurrency.parallel import GoOn, run_all
from app.config.file_format import format_of_name
from app.errors import InvalidModel, JobError, NotFound
from app.jobs.places import check_places
from app.night.planned_jobs import InvalidPlan, PlannedJob
from app.planning.output_paths import named_paths, single_paths
from app.planning.selection import select_files
from app.savedmodel.find_model import find_model
from app.storage import Storage

_PARALLEL_LOOKS = 16


class Readiness(StrEnum):
    """Whether a job can run. A REFUSED one makes the whole plan invalid."""

    READY = "ready"
    MISSING_MODEL = "missing model"
    NO_INPUT = "no input"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SurveyedJob:
    """A job and what it would read. `outputs` are the URIs of its predictions, `size` in bytes."""

    job: PlannedJob
    readiness: Readiness
    files: int = 0
    size: int = 0
    outputs: tuple[str, ...] = ()
    message: str = ""


def survey(
    jobs: Sequence[PlannedJob],
    storage: Storage,
    deadline: Deadline,
    problems: Sequence[str] = (),
) -> list[SurveyedJob]:
    """Look at all jobs, some at a time.

    Raises InvalidPlan with all that is wrong, after the `problems` that are known already: jobs
    that can never run, and outputs that two jobs would write.
    """
    found: dict[str, SurveyedJob] = {}

    def look(job: PlannedJob, go_on: GoOn) -> None:
        go_on()
        found[job.name] = _look_at(job, storage)

    tasks = [partial(look, job) for job in jobs]
    run_all(tasks, workers=_PARALLEL_LOOKS, check=deadline.remaining)
    surveyed = [found[job.name] for job in jobs]
    refused = [one.message for one in surveyed if one.readiness is Readiness.REFUSED]
    if found_wrong := [*problems, *refused, *_conflicts(surveyed)]:
        raise InvalidPlan(found_wrong)
    return surveyed


def survey_unready(
    frozen: Sequence[SurveyedJob], storage: Storage, deadline: Deadline
) -> list[SurveyedJob]:
    """Look again at the jobs that could not run, and at those whose outputs might now collide."""
    unready = [one.job for one in frozen if one.readiness is not Readiness.READY]
    again = {one.job.name: one for one in survey(unready, storage, deadline)}
    folders = [
        str(one.job.spec.output) for one in again.values() if one.readiness is Readiness.READY
    ]
    if folders:
        beside = [
            one.job
            for one in frozen
            if one.job.name not in again and _is_beside(str(one.job.spec.output), folders)
        ]
        again = {one.job.name: one for one in survey([*unready, *beside], storage, deadline)}
    return [again.get(one.job.name, one) for one in frozen]


def _is_beside(output: str, folders: Iterable[str]) -> bool:
    return any(output.startswith(one) or one.startswith(output) for one in folders)


def _look_at(job: PlannedJob, storage: Storage) -> SurveyedJob:
    try:
        check_places(job.spec, storage)
        find_model(job.spec.model, storage)
    except (NotFound, InvalidModel) as error:
        return SurveyedJob(job, Readiness.MISSING_MODEL, message=error.message)
    except JobError as error:
        return _refused(job, error)
    try:
        selected = select_files(job.spec, storage).files
    except NotFound as error:
        return SurveyedJob(job, Readiness.NO_INPUT, message=error.message)
    except JobError as error:
        return _refused(job, error)
    if job.spec.input_format == "file":
        outputs = [single_paths(job.spec)]
    else:
        outputs = [
            named_paths(job.spec, one, job.spec.input_format or format_of_name(one.name))
            for one in selected
        ]
    return SurveyedJob(
        job,
        Readiness.READY,
        files=len(selected),
        size=sum(one.file.size for one in selected),
        outputs=tuple(str(paths.output) for paths in outputs),
    )


def _refused(job: PlannedJob, error: JobError) -> SurveyedJob:
    """Raises errors that pass: they say nothing about the job."""
    if error.is_retryable:
        raise error
    return SurveyedJob(job, Readiness.REFUSED, message=f"{job.name}: {error.message}")


def _conflicts(surveyed: Iterable[SurveyedJob]) -> list[str]:
    writers: dict[str, str] = {}
    problems = []
    for one in surveyed:
        for output in one.outputs:
            other = writers.setdefault(output, one.job.name)
            if other != one.job.name:
                problems.append(f"{other} and {one.job.name} would both write {output}")
    return problems
