"""`embedded-tf predict`: one job, here."""

import logging
import uuid
from dataclasses import replace
from typing import Any

import click

from app.cli import signals_unwind
from app.cli.job_options import given_parameters, job_options, refuse_arguments
from app.cli.terminal import fail, print_json, print_summary, progress, settings_of_environment
from app.config.job_spec import parse_job_spec
from app.errors import InternalError, JobError
from app.job.run import run_job
from app.storage import Connections
from app.telemetry.log import LogContext, job_context, set_up_logging
from tfserving_launcher import protect_this_process

logger = logging.getLogger(__name__)


@click.command()
@job_options
@click.argument("unexpected", nargs=-1)
@click.option("--verbose", is_flag=True, help="Log every step, the model server's output included.")
def predict(*, verbose: bool, unexpected: tuple[str, ...], **options: Any) -> None:
    """Run one job: gs:// URIs or local paths. The report goes to standard output as JSON.

    The exit status is 0, 1 when the job failed, or 2 for wrong usage.
    """
    refuse_arguments(unexpected)
    settings = settings_of_environment()
    protect_this_process()
    set_up_logging("DEBUG" if verbose else "WARNING", project=settings.project)
    context = LogContext(uuid.uuid4().hex[:12])
    with job_context(context), signals_unwind():
        try:
            spec = parse_job_spec(given_parameters(options), relative_paths=True)
            with progress(bar=not verbose) as shown:
                report = run_job(
                    spec,
                    job_id=context.job_id,
                    # Whoever sits at the command line may use files as the system lets them.
                    settings=replace(settings, local_roots=None),
                    connections=Connections(settings.project),
                    progress=shown,
                )
        except JobError as error:
            fail(error)
        except Exception:
            logger.exception("unexpected error")
            fail(InternalError("internal error; the log has its trace"))
    print_json(report.as_json())
    print_summary(report)
