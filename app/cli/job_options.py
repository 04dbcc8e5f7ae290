"""The options of a job, for all commands that take one."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import click

from app.config.field_names import field_names
from app.config.file_format import COMPRESSIONS, INPUT_FORMATS, OUTPUT_FORMATS
from app.config.job_spec import LISTS_OF_NAMES

_Command = Callable[..., Any]
_PLACES: tuple[Callable[[_Command], _Command], ...] = (
    click.option("--model", required=True, help="Folder of a SavedModel or of numbered versions."),
    click.option(
        "--input",
        required=True,
        multiple=True,
        help="A file, a folder ending in /, or a name with *, ? or **; may be repeated.",
    ),
    click.option("--output", required=True, help="Folder for the predictions."),
)
_PARAMETERS: tuple[Callable[[_Command], _Command], ...] = (
    click.option(
        "--signature-name", help="Signature to call.  [default: serving_default, or the only one]"
    ),
    click.option("--batch-size", type=int, help="Rows a call.  [default: chosen by size]"),
    click.option(
        "--on-error",
        type=click.Choice(["fail", "skip"]),
        help="What a bad row does: end the job, or go to a file of its own.  [default: fail]",
    ),
    click.option(
        "--key-field", help="Field that comes back beside each prediction, unseen by the model."
    ),
    click.option(
        "--include-instance", is_flag=True, help="Write each instance beside its prediction."
    ),
    click.option(
        "--included-fields",
        multiple=True,
        help="The only fields that the model sees, separated by commas; may be repeated.",
    ),
    click.option(
        "--excluded-fields",
        multiple=True,
        help="Fields that the model does not see, separated by commas; may be repeated.",
    ),
    click.option(
        "--input-format",
        type=click.Choice(INPUT_FORMATS),
        help="[default: told by the file's name]",
    ),
    click.option("--output-format", type=click.Choice(OUTPUT_FORMATS), help="[default: jsonl]"),
    click.option(
        "--output-compression", type=click.Choice(COMPRESSIONS), help="[default: as the input is]"
    ),
    click.option(
        "--integer-strings", is_flag=True, help="Take whole numbers in strings, as BigQuery writes."
    ),
    click.option(
        "--csv-header",
        type=click.BOOL,
        help="Whether tables have a header.  [default: they must, and it is no row of numbers]",
    ),
    click.option(
        "--csv-delimiter",
        help="What separates the cells of tables: tab, or one character.  [default: a comma]",
    ),
    click.option(
        "--constants",
        help="Inputs that are the same for all rows, as a JSON object: '{\"keep_prob\": 1.0}'.",
    ),
    click.option(
        "--output-filter",
        multiple=True,
        help="The only outputs to compute, separated by commas; may be repeated.  [default: all]",
    ),
    click.option("--force", is_flag=True, help="Make outputs again that are there already."),
    click.option("--timeout-seconds", type=float, help="For the whole job."),
    click.option(
        "--warm-up-data-path",
        help="Requests to send before the first row: lines as in an input, or a PredictRequest"
        " in a file that ends in .bin.",
    ),
    click.option("--warm-up-count", type=int, help="How many times to send them.  [default: 5]"),
)


def job_options(command: _Command) -> _Command:
    """Add the options of a job to a command."""
    return _with_options(command, _PLACES + _PARAMETERS)


def parameter_options(command: _Command) -> _Command:
    """Add the options of a job, without its model, input and output."""
    return _with_options(command, _PARAMETERS)


def _with_options(
    command: _Command, options: tuple[Callable[[_Command], _Command], ...]
) -> _Command:
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def refuse_arguments(unexpected: tuple[str, ...]) -> None:
    """Raise click.UsageError for arguments that are no options."""
    if unexpected:
        raise click.UsageError(
            f"unexpected argument {unexpected[0]!r}: where the shell has replaced a * by the names"
            " of files, quote it, as in --input 'data/*.jsonl', or repeat --input"
        )


def given_parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are given. Raises InvalidArgument."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    names = {name: field_names(given[name], name) for name in LISTS_OF_NAMES if name in given}
    return given | names
