"""`embedded-tf inspect`: what a model takes and gives, and how to call it."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from app.cli import signals_unwind
from app.cli.terminal import fail, print_json, settings_of_environment
from app.errors import JobError
from app.savedmodel.describe_model import (
    ModelDescription,
    SignatureDescription,
    TensorDescription,
    describe_model,
)
from app.savedmodel.find_model import find_model
from app.storage import Connections, Storage, parse_location
from app.telemetry.log import printable, set_up_logging

_MOST_CHARACTERS = 200


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def inspect(model: str, *, as_json: bool) -> None:
    """Show what MODEL takes and gives, and the command that calls it.

    MODEL is a folder, local or gs://. Neither a model server nor TensorFlow is started.
    """
    settings = settings_of_environment()
    set_up_logging("WARNING", project=settings.project)
    try:
        location = parse_location(model, parameter="model").as_folder()
        storage = Storage(connections=Connections(settings.project))
        with signals_unwind(), tempfile.TemporaryDirectory(prefix="embedded-tf-") as folder:
            found = find_model(location, storage)
            description = describe_model(found, location, storage, Path(folder))
    except JobError as error:
        fail(error)
    if as_json:
        print_json(description.as_json())
    else:
        click.echo("\n".join(map(printable, _lines(description))))


def _lines(model: ModelDescription) -> Iterator[str]:
    yield f"model      {model.model}"
    highest = f", the highest of {', '.join(model.versions)}" if len(model.versions) > 1 else ""
    yield f"version    {model.version}{highest}"
    yield f"size       {model.size / 1e6:,.1f} MB"
    for signature in model.signatures:
        yield ""
        yield from _signature_lines(signature)


def _signature_lines(signature: SignatureDescription) -> Iterator[str]:
    kind = signature.method_name.rpartition("/")[2] or "unknown"
    default = ", the default" if signature.is_default else ""
    yield f"signature  {signature.name} ({kind}{default})"
    yield from _tensor_lines("inputs", signature.inputs)
    yield from _tensor_lines("outputs", signature.outputs)
    if signature.batch_size is not None:
        yield f"  batch    {signature.batch_size} rows in each call, padded where there are fewer"
    if signature.problem is not None:
        yield f"  problem  {signature.problem}"
        return
    for name, value in signature.parameters.items():
        yield f"  needs    {name}={value}"
    if signature.line is not None:
        yield f"  line     {_shortened(signature.line)}"
    if signature.csv_header is not None:
        yield f"  csv      {_shortened(signature.csv_header)}"
    yield f"  call     {signature.command}"


def _tensor_lines(title: str, tensors: Iterable[TensorDescription]) -> Iterator[str]:
    for tensor in tensors:
        shape = "of any shape"
        if tensor.shape is not None:
            sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
            shape = f"[{sizes}]"
        kind = "" if tensor.encoding == "dense" else f"{tensor.encoding} "
        default = " (has a default)" if tensor.has_default else ""
        yield f"  {title:8} {tensor.name}: {kind}{tensor.dtype}{shape}{default}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
