"""Rows are counted as they were written."""

import gzip
from pathlib import Path
from typing import Literal

import pytest

from app.errors import UnsupportedInput
from app.planning.row_count import count_rows
from app.storage import Storage
from tests.fakes.tasks import location_of


def rows(folder: Path, text: bytes, output_format: Literal["jsonl", "csv"]) -> int:
    (folder / "out").write_bytes(text)
    storage = Storage(local_roots=None)
    file = storage.find(location_of(folder / "out"))
    assert file is not None
    return count_rows(file, output_format, storage)


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"", 0), (b"1.0\n", 1), (b'"a\\"b"\n2\n', 2), (b'"one quote: \\""\n' * 3, 3)],
)
def test_json_lines(text: bytes, count: int, tmp_path: Path) -> None:
    assert rows(tmp_path, text, "jsonl") == count
    assert rows(tmp_path, gzip.compress(text), "jsonl") == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"y\n", 0),
        (b"y\n1\n2\n", 2),
        (b'y,text\n1,"two\nlines"\n2,"a ""quoted"" one\n"\n', 2),
        (b'y\n"' + b"long\n" * 1_000_000 + b'"\n3\n', 2),
    ],
)
def test_tables(text: bytes, count: int, tmp_path: Path) -> None:
    """A line break within quotation marks, also in another block than they are, ends no row."""
    assert rows(tmp_path, text, "csv") == count


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput):
        rows(tmp_path, gzip.compress(b"1\n" * 1000)[:-20], "jsonl")
