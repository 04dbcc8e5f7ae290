"""`embedded-tf warm-up`: TF Serving's own warm-up file in a SavedModel."""

import click

from app.cli.on_models import on_models
from app.cli.terminal import progress, settings_of_environment
from app.job.warm_up_file import CallTimes, check_warm_up_file, make_warm_up_file
from app.storage import Connections, parse_location
from app.telemetry.log import printable

_DEFAULT_REQUESTS = 10


@click.group("warm-up")
def warm_up() -> None:
    """Requests that TF Serving replays while it loads a model."""


@warm_up.command()
@click.option("--model", required=True, help="Folder of a SavedModel or of numbered versions.")
@click.option("--rows", required=True, help="Sample rows: JSON lines as in an input, or .txt.")
@click.option("--signature-name", help="Signature to call.  [default: serving_default]")
@click.option(
    "--requests",
    default=_DEFAULT_REQUESTS,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="The most rows to take, each as a request.",
)
def make(model: str, rows: str, signature_name: str | None, requests: int) -> None:
    """Write the file into the model's highest version, once a server has loaded it with it."""
    settings = settings_of_environment()

    def run() -> None:
        with progress(bar=False) as shown:
            target, number = make_warm_up_file(
                parse_location(model, parameter="model").as_folder(),
                parse_location(rows, parameter="rows"),
                signature_name=signature_name,
                most_requests=requests,
                settings=settings,
                connections=Connections(settings.project),
                progress=shown,
            )
        click.echo(printable(f"{target}: {number} requests"))

    on_models(run, settings.project)


@warm_up.command()
@click.option("--model", required=True, help="Folder of a SavedModel or of numbered versions.")
def check(model: str) -> None:
    """Replay the model's file; print the milliseconds of calls with and without the warm-up."""
    settings = settings_of_environment()

    def run() -> None:
        with progress(bar=False) as shown:
            times = check_warm_up_file(
                parse_location(model, parameter="model").as_folder(),
                settings=settings,
                connections=Connections(settings.project),
                progress=shown,
            )
        click.echo(f"without warm-up: {_line(times['without'])}")
        click.echo(f"with warm-up:    {_line(times['with'])}")

    on_models(run, settings.project)


def _line(times: CallTimes) -> str:
    later = "" if times.later is None else f", later calls {times.later:,.1f} ms"
    return f"first call {times.first:,.1f} ms{later}"
