"""Which reader an input file has."""

from typing import Any

from app.formats.csv import CsvReader
from app.formats.file_list import FileListReader
from app.formats.jsonl import JsonLinesReader
from app.formats.reader import FaultSink, InstanceReader, Opening
from app.formats.text import TextReader
from app.formats.tfrecord import TfRecordReader
from app.job_spec import JobSpec
from app.plan import FileTask
from app.storage import Storage
from tfserving_launcher import Signature


def open_reader(
    task: FileTask,
    signature: Signature,
    spec: JobSpec,
    on_fault: FaultSink,
    *,
    storage: Storage,
    max_line_bytes: int,
) -> InstanceReader[Any]:
    """Raises UnsupportedInput where the signature cannot be given rows of the file's format."""
    opening = Opening(
        file=task.input.uri,
        signature=signature,
        fields=spec.fields,
        on_fault=on_fault,
        max_line_bytes=max_line_bytes,
    )
    match task.format:
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
