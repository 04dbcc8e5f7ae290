"""Text: each line is one string, which may be empty."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from app.formats.strings import StringReader
from app.framing.lines import Lines, read_lines


class TextReader(StringReader):
    """An InstanceReader for lines of text."""

    unit: ClassVar[str] = "line"
    format_name: ClassVar[str] = "text"

    def read(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        return read_lines(
            blocks, max_line_bytes=self._max_line_bytes, on_row_error=self._on_row_error
        )

    def rows(self, batch: Lines) -> list[tuple[int, bytes]]:
        return batch.rows_with_blank_ones()
