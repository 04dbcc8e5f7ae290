"""run_job(): the whole story of a job."""

from collections.abc import Iterable

from app.concurrency.deadline import StopSignal
from app.concurrency.pipeline import Pipeline
from app.config.job_spec import JobSpec
from app.errors import NoValidRows
from app.job.context import JobContext
from app.job.own_model import check_model_is_served
from app.job.predict_file import FilePrediction
from app.job.prefetch import PrefetchedInputs
from app.job.publishing import publisher
from app.job.served_model import serve_model
from app.job.warming_up import warm_up
from app.planning.earlier_outputs import look_for_outputs
from app.planning.plan import FileTask, LookedUp, Plan, check_locations, plan_files
from app.planning.reuse import reuse
from app.planning.selection import select_files
from app.savedmodel.find_model import find_model
from app.savedmodel.model_files import ModelFiles
from app.serving.error_translation import model_server_errors
from app.serving.model_cache import ModelCache
from app.settings import Settings
from app.storage import Connections
from app.telemetry.progress import Progress
from app.telemetry.report import FileReport, Report
from tfserving_launcher import DEFAULT_SIGNATURE


def run_job(
    spec: JobSpec,
    *,
    job_id: str,
    writer_id: str | None = None,
    settings: Settings,
    connections: Connections,
    models: ModelCache | None = None,
    progress: Progress,
    stop_signal: StopSignal | None = None,
) -> Report:
    """Fetch the model, start a server for it, predict file by file, and clean everything up.

    Outputs of an earlier call with the same model, input and parameters are reused. `writer_id` is
    the same for all runs of one job, by default `job_id`. `models` keeps servers from job to job;
    by default nothing is kept. `stop_signal` ends the job from outside. Raises JobError, whose
    details list the complete files. These stay, and nothing of the others appears.
    """
    job = JobContext.begin(
        spec,
        job_id=job_id,
        writer_id=writer_id,
        settings=settings,
        connections=connections,
        models=models or ModelCache(),
        progress=progress,
        stop_signal=stop_signal,
    )
    with (
        job.ending_its_threads(),
        job.adding_what_is_done_to_errors(),
        model_server_errors(job.deadline),
        Pipeline(job.deadline) as pipeline,
    ):
        check_model_is_served(spec, settings)
        check_locations(spec, job.storage, job.model_storage)
        model, plan = _plan(job)
        pending = _reuse(job, plan)
        if pending:
            inputs = PrefetchedInputs(pending, job.storage, pipeline)
            with serve_model(job, model) as served:
                served.check_formats(job, pending)
                warm_up(job, served)
                with job.phase("predict", "predicting"), publisher(job) as outputs:
                    for task, blocks in inputs:
                        prediction = FilePrediction(
                            job, served, task, inputs.read_again, outputs.check
                        )
                        prediction.predict(blocks)
                        outputs.publish(prediction)
        _check_any_prediction(job.done.reports())
    return _report(job, model, plan)


def _plan(job: JobContext) -> tuple[ModelFiles, Plan]:
    """Look up the model, the inputs and the outputs at once, and plan the job's files.

    Raises the first error in this order.
    """
    finding_model = job.deadline.start(find_model, job.spec.model, job.model_storage)
    selecting = job.deadline.start(select_files, job.spec, job.storage)
    finding_outputs = job.deadline.start(look_for_outputs, job.spec, job.storage)
    model = finding_model.result()
    job.done.model_version = model.version
    there = LookedUp(
        model_files=model.files,
        selection=selecting.result(),
        outputs=finding_outputs.result(),
    )
    check = job.deadline.remaining
    plan = job.deadline.run(plan_files, job.spec, job.storage, there, job.settings, check)
    job.done.expect(len(plan.tasks), left_out=plan.left_out)
    return model, plan


def _reuse(job: JobContext, plan: Plan) -> list[FileTask]:
    """Reuse existing outputs; return the tasks of the others.

    `force` makes them again, but not twice where a job is run again after an interruption.
    """
    made_by = job.writer_id if job.spec.force else None
    pending = job.deadline.run(reuse, plan.tasks, job.done, job.storage, job.spec, made_by)
    job.progress.files(**job.done.counts())
    job.progress.total(files=len(pending), size=sum(task.input.size for task in pending))
    return pending


def _check_any_prediction(files: Iterable[FileReport]) -> None:
    """Raise NoValidRows if there were rows, but no prediction."""
    instances = sum(file.instances for file in files)
    if instances == 0 or any(file.predictions for file in files):
        return
    first = next(file for file in files if file.errors)
    raise NoValidRows(
        f"none of the {instances} rows could be predicted; {first.errors_output} has the bad rows"
        f" of {first.input}"
    )


def _report(job: JobContext, model: ModelFiles, plan: Plan) -> Report:
    return Report(
        job_id=job.job_id,
        model=str(job.spec.model),
        model_version=model.version,
        signature_name=job.done.signature_name or job.spec.signature_name or DEFAULT_SIGNATURE,
        inputs=tuple(map(str, job.spec.inputs)),
        output=str(job.spec.output),
        files=job.done.reports(),
        files_left_out=plan.left_out,
        seconds=job.stopwatch.seconds(),
        storage_requests=job.storage.requests(),
    )
