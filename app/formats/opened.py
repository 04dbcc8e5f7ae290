"""Which reader an input file has."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from app.formats.csv import CsvReader
from app.formats.file_list import FileListReader
from app.formats.jsonl import JsonLinesReader
from app.formats.reader import FaultSink, InstanceReader, Opening
from app.formats.text import TextReader
from app.formats.tfrecord import TfRecordReader
from app.formats.tfrecord_framing import is_frame
from app.job_spec import JobSpec
from app.plan import FileTask
from app.storage import Storage
from tfserving_launcher import Signature
from tfserving_launcher.parse_spec import FeatureTypes

# Of TFRecord: a length and its checksum.
_HEADER_BYTES = 12


def recognise_tfrecord(blocks: Iterator[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Whether this content is TFRecord, told by its first bytes; and all of the content."""
    beginning = b""
    while len(beginning) < _HEADER_BYTES and (block := next(blocks, b"")):
        beginning += block
    return is_frame(beginning), chain([beginning] if beginning else [], blocks)


def open_reader(
    task: FileTask,
    signature: Signature,
    spec: JobSpec,
    on_fault: FaultSink,
    *,
    storage: Storage,
    max_line_bytes: int,
    parse_spec: Callable[[], FeatureTypes | None],
    is_tfrecord: bool = False,
) -> InstanceReader[Any]:
    """A reader for the format that was asked for, or else that content and name tell of.

    The content tells only whether the file `is_tfrecord`. Raises UnsupportedInput where the
    signature cannot be given rows of that format.
    """
    opening = Opening(
        file=task.input.uri,
        signature=signature,
        fields=spec.fields,
        on_fault=on_fault,
        max_line_bytes=max_line_bytes,
        integer_strings=spec.integer_strings,
        parse_spec=parse_spec,
    )
    by_content = is_tfrecord and spec.input_format is None
    match "tfrecord" if by_content else task.format:
        case "jsonl":
            return JsonLinesReader(opening)
        case "csv":
            return CsvReader(opening, instance_as_columns=spec.output_format == "csv")
        case "tfrecord":
            return TfRecordReader(opening)
        case "text":
            return TextReader(opening)
        case "file-list":
            assert task.listed is not None
            return FileListReader(opening, listed=task.listed, storage=storage)
