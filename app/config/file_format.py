"""Formats of input files and outputs, and what file names say about them."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

InputFormat = Literal["jsonl", "csv", "tfrecord", "text", "file-list", "file"]
OutputFormat = Literal["jsonl", "csv"]
Compression = Literal["gzip", "none"]

INPUT_FORMATS: tuple[InputFormat, ...] = get_args(InputFormat)
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

_GZIP_SUFFIX = ".gz"
_ERRORS_SUFFIX = ".errors.jsonl"
# Sharded data sets have `-00000-of-00010` after the suffix, in TFX without a dot before it.
_SUFFIX = re.compile(
    r"(?:\.(?P<suffix>[A-Za-z]+)(?:-[0-9]+-of-[0-9]+)?"
    r"|(?:^|[^A-Za-z])(?P<kind>tfrecords?)-[0-9]+-of-[0-9]+)$"
)
_NUMBERED = re.compile(
    r"(?:^|/)prediction-[^/]+/prediction\.(?:results|errors_stats)-[0-9]{5}-of-[0-9]{5}$"
)
_FORMATS: dict[str, InputFormat] = {
    "csv": "csv",
    "tsv": "csv",
    "tfrecord": "tfrecord",
    "tfrecords": "tfrecord",
    "tfrec": "tfrecord",
    "tfr": "tfrecord",
    "txt": "text",
}


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """The dialect of a table. `has_header` None expects a header that is not a row of numbers."""

    delimiter: str = ","
    has_header: bool | None = None


def format_of_name(name: str) -> InputFormat:
    """The format that a file name implies; JSON lines by default."""
    return _FORMATS.get(_suffix(name), "jsonl")


def delimiter_of_name(name: str) -> str:
    """The delimiter that the name of a table implies."""
    return "\t" if _suffix(name) == "tsv" else ","


def _suffix(name: str) -> str:
    match = _SUFFIX.search(without_gzip_suffix(name))
    return "" if match is None else (match["suffix"] or match["kind"]).lower()


def is_gzip_name(name: str) -> bool:
    return name.endswith(_GZIP_SUFFIX)


def without_gzip_suffix(name: str) -> str:
    return name.removesuffix(_GZIP_SUFFIX)


def output_name(
    input_name: str, input_format: InputFormat, output_format: OutputFormat, *, gzip_suffix: bool
) -> str:
    """The input's name, with the output format's suffix if that differs."""
    name = without_gzip_suffix(input_name)
    if input_format != output_format:
        name = f"{name}.{output_format}"
    return name + _GZIP_SUFFIX if gzip_suffix else name


def predictions_name(output_format: OutputFormat, *, gzip_suffix: bool) -> str:
    """The name of the single output of many files."""
    return f"predictions.{output_format}{_GZIP_SUFFIX if gzip_suffix else ''}"


def errors_name(output_name: str) -> str:
    """The name of an output's errors file."""
    return output_name + _ERRORS_SUFFIX


def numbered_names(number: int, total: int) -> tuple[str, str]:
    """Vertex AI's names of an output and its errors file."""
    part = f"{number:05d}-of-{total:05d}"
    return f"prediction.results-{part}", f"prediction.errors_stats-{part}"


def is_numbered_output(path: str) -> bool:
    """Whether the file at `path` has such a name, in such a job's folder."""
    return _NUMBERED.search(path) is not None
