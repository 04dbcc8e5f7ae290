"""`embedded-tf predict`: one job, here."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from app.cli import signals_unwind
from app.cli.terminal import fail, print_json, print_summary, progress, settings_of_environment
from app.config.field_names import field_names
from app.config.file_format import COMPRESSIONS, INPUT_FORMATS, OUTPUT_FORMATS
from app.config.job_spec import LISTS_OF_NAMES, parse_job_spec
from app.errors import InternalError, JobError
from app.job.run import run_job
from app.storage import Connections
from app.telemetry.log import LogContext, job_context, set_up_logging
from tfserving_launcher import protect_this_process

logger = logging.getLogger(__name__)


@click.command()
@click.option("--model", required=True, help="Folder of a SavedModel or of numbered versions.")
@click.option(
    "--input",
    required=True,
    multiple=True,
    help="A file, a folder ending in /, or a name with *, ? or **; may be repeated.",
)
@click.option("--output", required=True, help="Folder for the predictions.")
@click.option(
    "--signature-name", help="Signature to call.  [default: serving_default, or the only one]"
)
@click.option("--batch-size", type=int, help="Rows a call.  [default: chosen by size]")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    help="What a bad row does: end the job, or go to a file of its own.  [default: fail]",
)
@click.option(
    "--key-field", help="Field that comes back beside each prediction, unseen by the model."
)
@click.option("--include-instance", is_flag=True, help="Write each instance beside its prediction.")
@click.option(
    "--included-fields",
    multiple=True,
    help="The only fields that the model sees, separated by commas; may be repeated.",
)
@click.option(
    "--excluded-fields",
    multiple=True,
    help="Fields that the model does not see, separated by commas; may be repeated.",
)
@click.option(
    "--input-format", type=click.Choice(INPUT_FORMATS), help="[default: told by the file's name]"
)
@click.option("--output-format", type=click.Choice(OUTPUT_FORMATS), help="[default: jsonl]")
@click.option(
    "--output-compression", type=click.Choice(COMPRESSIONS), help="[default: as the input is]"
)
@click.option(
    "--integer-strings", is_flag=True, help="Take whole numbers in strings, as BigQuery writes."
)
@click.option(
    "--csv-header",
    type=click.BOOL,
    help="Whether tables have a header.  [default: they must, and it is no row of numbers]",
)
@click.option(
    "--csv-delimiter",
    help="What separates the cells of tables: tab, or one character.  [default: a comma]",
)
@click.option(
    "--constants",
    help="Inputs that are the same for all rows, as a JSON object: '{\"keep_prob\": 1.0}'.",
)
@click.option(
    "--output-filter",
    multiple=True,
    help="The only outputs to compute, separated by commas; may be repeated.  [default: all]",
)
@click.option("--force", is_flag=True, help="Make outputs again that are there already.")
@click.option("--timeout-seconds", type=float, help="For the whole job.")
@click.argument("unexpected", nargs=-1)
@click.option("--verbose", is_flag=True, help="Log every step, the model server's output included.")
def predict(*, verbose: bool, unexpected: tuple[str, ...], **options: Any) -> None:
    """Run one job: gs:// URIs or local paths. The report goes to standard output as JSON.

    The exit status is 0, 1 when the job failed, or 2 for wrong usage.
    """
    if unexpected:
        raise click.UsageError(
            f"unexpected argument {unexpected[0]!r}: where the shell has replaced a * by the names"
            " of files, quote it, as in --input 'data/*.jsonl', or repeat --input"
        )
    settings = settings_of_environment()
    protect_this_process()
    set_up_logging("DEBUG" if verbose else "WARNING", project=settings.project)
    context = LogContext(uuid.uuid4().hex[:12])
    with job_context(context), signals_unwind():
        try:
            spec = parse_job_spec(_parameters(options), relative_paths=True)
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


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given. Raises InvalidArgument."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    names = {name: field_names(given[name], name) for name in LISTS_OF_NAMES if name in given}
    return given | names
