"""Counts the rows of an output by reading it."""

from app.config.file_format import OutputFormat
from app.framing.gzipped import unpacked
from app.storage import Storage, StoredFile


def count_rows(file: StoredFile, output_format: OutputFormat, storage: Storage) -> int:
    """The rows of a file that a job has written; a table's header is none.

    Raises what storage raises, and InputError for a damaged file.
    """
    rows, is_quoted = 0, False
    for block in unpacked(storage.read(file), file=file.uri):
        if output_format == "jsonl":
            rows += block.count(b"\n")
            continue
        for part in block.split(b'"'):
            # Every quotation mark begins or ends quoted text, where a line break ends no row.
            rows += 0 if is_quoted else part.count(b"\n")
            is_quoted = not is_quoted
        # The block's last part goes on in the next block.
        is_quoted = not is_quoted
    return max(0, rows - 1) if output_format == "csv" else rows
