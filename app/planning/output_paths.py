"""The paths of outputs, by the names of their inputs or as Vertex AI has them."""

from dataclasses import dataclass

from app.config.file_format import (
    InputFormat,
    errors_name,
    is_gzip_name,
    numbered_names,
    output_name,
    predictions_name,
)
from app.config.job_spec import JobSpec
from app.planning.selection import SelectedFile
from app.storage import Location

STORED_AS_IT_IS = ("", "identity")


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The paths of an output and its errors file, and whether the output is gzipped."""

    output: Location
    errors: Location
    gzip: bool


def named_paths(spec: JobSpec, selected: SelectedFile, file_format: InputFormat) -> OutputPaths:
    """Name the output like its input."""
    encoded = selected.file.content_encoding not in STORED_AS_IT_IS
    has_gzip_name = is_gzip_name(selected.name)
    match spec.output_compression:
        case "gzip":
            gzip = gzip_suffix = True
        case "none":
            gzip = gzip_suffix = False
        case None:
            gzip_suffix = has_gzip_name
            # Only the Content-Encoding shows that an object without .gz is gzipped.
            gzip = has_gzip_name or (encoded and spec.output.scheme == "gs")
    name = output_name(selected.name, file_format, spec.output_format, gzip_suffix=gzip_suffix)
    output = spec.output.below(name)
    return OutputPaths(output, _errors_of(output), gzip)


def numbered_paths(spec: JobSpec, number: int, total: int) -> OutputPaths:
    """Name the output as Vertex AI does."""
    output, errors = map(spec.output.below, numbered_names(number, total))
    return OutputPaths(output, errors, gzip=spec.output_compression == "gzip")


def single_paths(spec: JobSpec) -> OutputPaths:
    """Name the one output of `input_format=file`."""
    gzip = spec.output_compression == "gzip"
    output = spec.output.below(predictions_name(spec.output_format, gzip_suffix=gzip))
    return OutputPaths(output, _errors_of(output), gzip)


def _errors_of(output: Location) -> Location:
    folder = output.parent()
    return folder.below(errors_name(output.path.removeprefix(folder.path)))
