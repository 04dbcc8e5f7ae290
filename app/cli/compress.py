"""`embedded-tf compress`: a model as a smaller one of TensorFlow Lite."""

from typing import cast

import click

from app.cli.on_models import on_models
from app.cli.terminal import progress, settings_of_environment
from app.job.compress_model import Comparison, ModelFigures, Precision, compress_model
from app.storage import Connections, parse_location
from app.telemetry.log import printable


@click.command()
@click.option("--model", required=True, help="Folder of a SavedModel or of numbered versions.")
@click.option("--output", required=True, help="Folder for the new model's version folder.")
@click.option("--rows", required=True, help="Sample rows: JSON lines as in an input, or .txt.")
@click.option(
    "--precision",
    required=True,
    type=click.Choice(["float16", "int8"]),
    help="Of the weights; int8 computes with integers as well, where it can.",
)
@click.option("--signature-name", help="The signature to keep.  [default: serving_default]")
def compress(
    model: str, output: str, rows: str, precision: str, signature_name: str | None
) -> None:
    """Convert a model with TensorFlow Lite, and compare both on sample rows.

    Needs the TensorFlow package, which the service does not have.
    """
    settings = settings_of_environment()

    def run() -> None:
        with progress(bar=False) as shown:
            comparison = compress_model(
                parse_location(model, parameter="model").as_folder(),
                parse_location(output, parameter="output").as_folder(),
                parse_location(rows, parameter="rows"),
                precision=cast(Precision, precision),
                signature_name=signature_name,
                settings=settings,
                connections=Connections(settings.project),
                progress=shown,
            )
        for line in _lines(comparison):
            click.echo(printable(line))

    on_models(run, settings.project)


def _lines(comparison: Comparison) -> list[str]:
    return [
        f"{comparison.target}, compared on {comparison.rows:,} rows",
        "",
        f"{'':12}{'size':>12}{'load':>10}{'rows/s':>14}",
        _line("original", comparison.original),
        _line("compressed", comparison.compressed),
        "",
        *(
            f"largest difference of {name}: {difference:.3g}"
            for name, difference in comparison.differences.items()
        ),
    ]


def _line(name: str, figures: ModelFigures) -> str:
    return (
        f"{name:12}{figures.size / 1e6:>9,.2f} MB{figures.load_seconds:>8.2f} s"
        f"{figures.rows_per_second:>14,.0f}"
    )
