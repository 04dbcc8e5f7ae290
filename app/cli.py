"""The command line: `embedded-tf predict` runs a job here, `embedded-tf serve` the service."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, NoReturn

import click
import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from app.config.field_names import field_names
from app.config.file_format import COMPRESSIONS, INPUT_FORMATS, OUTPUT_FORMATS
from app.config.job_spec import LISTS_OF_NAMES, parse_job_spec
from app.errors import InternalError, InvalidArgument, JobError
from app.job.run import run_job
from app.settings import Settings, SettingsError
from app.storage import Connections
from app.telemetry.log import LogContext, job_context, printable, set_up_logging
from app.telemetry.progress import LoggedProgress, Progress
from tfserving_launcher import protect_this_process

_JOB_FAILED = 1
_USAGE = 2
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="embedded-tf")
def main() -> None:
    """Batch predictions with a TensorFlow SavedModel, in seconds."""


@main.command()
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
    "--csv-header/--no-csv-header",
    default=None,
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
@click.option("--verbose", is_flag=True, help="Log every step, the model server's output included.")
def predict(*, verbose: bool, **options: Any) -> None:
    """Run one job: gs:// URIs or local paths. The report goes to standard output as JSON.

    The exit status is 0, 1 when the job failed, or 2 for wrong usage.
    """
    settings = _settings()
    protect_this_process()
    set_up_logging("DEBUG" if verbose else "WARNING", project=settings.project)
    with _signals_unwind():
        context = LogContext(uuid.uuid4().hex[:12])
        with job_context(context):
            try:
                spec = parse_job_spec(_parameters(options), relative_paths=True)
                with _progress(bar=not verbose) as progress:
                    report = run_job(
                        spec,
                        job_id=context.job_id,
                        # Whoever sits at the command line may use files as the system lets them.
                        settings=replace(settings, local_roots=None),
                        connections=Connections(settings.project),
                        progress=progress,
                    )
            except JobError as error:
                _fail(error)
            except Exception:
                logger.exception("unexpected error")
                _fail(InternalError("internal error; the log has its trace"))
    _print(report.as_json())


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given. Raises InvalidArgument."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    names = {name: field_names(given[name], name) for name in LISTS_OF_NAMES if name in given}
    return given | names


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, envvar="PORT", help="Port to listen on.")
def serve(host: str, port: int) -> NoReturn:
    """Start the HTTP service as the container does, under gunicorn."""
    _settings()
    environ = {**os.environ, "HOST": host, "PORT": str(port)}
    argv = [sys.executable, "-m", "gunicorn", "-c", "python:app.gunicorn_conf", "app.wsgi:app"]
    os.execve(sys.executable, argv, environ)  # noqa: S606  # gunicorn takes this process's place


class _BarProgress:
    """A bar that counts bytes of input."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("starting", total=None)
        self._rows = 0

    def phase(self, name: str) -> None:
        self._bar.update(self._task, description=printable(name))

    def total(self, *, files: int, size: int) -> None:
        self._bar.update(self._task, description=f"{files} files", total=size)

    def advanced(self, *, rows: int, size: int) -> None:
        self._rows += rows
        self._bar.update(self._task, advance=size, description=f"{self._rows:,} rows")


@contextmanager
def _progress(*, bar: bool) -> Iterator[Progress]:
    console = Console(stderr=True)
    if not (bar and console.is_terminal):
        yield LoggedProgress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as live:
        yield _BarProgress(live)


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """SIGTERM and SIGHUP end the job as Ctrl-C does: through the context managers that clean up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings() -> Settings:
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def _fail(error: JobError) -> NoReturn:
    _print(error.as_json())
    click.echo(printable(f"error: {error.message}"), err=True)
    sys.exit(_USAGE if isinstance(error, InvalidArgument) else _JOB_FAILED)


def _print(body: dict[str, Any]) -> None:
    text = orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    # JSON escapes only some of what steers a terminal.
    click.echo(printable(text) if sys.stdout.isatty() else text)


if __name__ == "__main__":
    main()
