"""The readers by input format."""

from typing import Any

from app.config.file_format import InputFormat, OutputFormat
from app.formats.context import InstanceReader, ReaderContext
from app.formats.csv import CsvReader
from app.formats.file_list import FileListReader, FileReader
from app.formats.jsonl import JsonLinesReader
from app.formats.manifest import Manifest
from app.formats.text import TextReader
from app.formats.tfrecord import TfRecordReader
from app.storage import Storage


def open_reader(
    file_format: InputFormat,
    context: ReaderContext,
    *,
    output_format: OutputFormat,
    manifest: Manifest | None,
    storage: Storage,
) -> InstanceReader[Any]:
    """Open a reader for one file. `manifest` holds the files of a file list.

    Raises UnsupportedInput if the signature cannot take rows of that format.
    """
    match file_format:
        case "jsonl":
            return JsonLinesReader(context)
        case "csv":
            return CsvReader(context, instance_as_columns=output_format == "csv")
        case "tfrecord":
            return TfRecordReader(context)
        case "text":
            return TextReader(context)
        case "file-list":
            assert manifest is not None
            return FileListReader(context, manifest=manifest, storage=storage)
        case "file":
            assert manifest is not None
            return FileReader(context, manifest=manifest, storage=storage)
