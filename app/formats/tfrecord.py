"""TFRecord files: each record is the bytes of one instance, as a rule a serialized tf.Example."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

from app.errors import RowFault, UnsupportedInput
from app.formats.strings import StringReader, as_base64
from app.formats.tfrecord_framing import FOOTER, HEADER, is_frame, masked_crc32c
from app.lines import too_long
from app.records import ByteRecords, as_records
from app.tf_examples import feature_json

_GROUP_BYTES = 1024 * 1024
# What is kept of a record that is too long, to show it.
_SHOWN_BYTES = 256


class TfRecordReader(StringReader):
    """An InstanceReader for TFRecord files."""

    unit: ClassVar[str] = "record"
    format_name: ClassVar[str] = "tfrecord"
    has_fields: ClassVar[bool] = True

    def read(self, blocks: Iterable[bytes]) -> Iterator[ByteRecords]:
        """A record that is damaged, or too long, is bad; a length that is, ends the file.

        Holds one block, one group, and one unfinished record of the longest that is taken.
        """
        group: list[bytes | None] = []
        group_bytes, first = 0, 1
        for content in self._contents(blocks):
            group.append(content)
            group_bytes += len(content or b"")
            if group_bytes >= _GROUP_BYTES:
                yield as_records(first, tuple(group))
                first += len(group)
                group, group_bytes = [], 0
        if group:
            yield as_records(first, tuple(group))

    def _contents(self, blocks: Iterable[bytes]) -> Iterator[bytes | None]:
        """The data of each record, or None for a bad one; none after the last that matters."""
        source = _Bytes(blocks)
        number = 0
        while not source.is_at_end():
            number += 1
            start = source.position
            header = source.take(HEADER.size)
            if len(header) == HEADER.size and not is_frame(header):
                raise self._lost(number, start, "its length does not match the length's checksum")
            length = HEADER.unpack(header)[0] if len(header) == HEADER.size else 0
            fault: RowFault | None = None
            if length > self._max_line_bytes:
                fault = too_long(number, self._max_line_bytes)
                data = source.take(_SHOWN_BYTES)
                source.skip(length - _SHOWN_BYTES)
            else:
                data = source.take(length)
            footer = source.take(FOOTER.size)
            if len(footer) < FOOTER.size:
                raise self._lost(number, start, "the file ends within it")
            if fault is None and FOOTER.unpack(footer)[0] != masked_crc32c(data):
                fault = RowFault(number, None, "the data does not match its checksum")
            if fault is None:
                yield data
                continue
            go_on = self._on_fault(fault, data)
            yield None
            if not go_on:
                return

    def key_of(self, text: bytes, name: str) -> bytes:
        return feature_json(text, name)

    def shown(self, text: bytes) -> bytes:
        return as_base64(text)

    def _lost(self, number: int, start: int, why: str) -> UnsupportedInput:
        return UnsupportedInput(
            f"{self._file}: record {number}, at byte {start} of the content: {why}, so nothing"
            " from there on can be read",
            {"file": self._file, "record": number, "byte": start},
        )


class _Bytes:
    """Takes so many bytes at a time from blocks of other sizes."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._place = 0
        self._before = 0

    @property
    def position(self) -> int:
        return self._before + self._place

    def is_at_end(self) -> bool:
        while self._place == len(self._block):
            if not self._next_block():
                return True
        return False

    def take(self, size: int) -> bytes:
        """Fewer at the end."""
        end = self._place + size
        if end <= len(self._block):
            data = self._block[self._place : end]
            self._place = end
            return data
        pieces = []
        while size > 0 and not self.is_at_end():
            piece = self._block[self._place : self._place + size]
            self._place += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        while size > 0 and not self.is_at_end():
            step = min(size, len(self._block) - self._place)
            self._place += step
            size -= step

    def _next_block(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        self._before += len(self._block)
        self._block, self._place = block, 0
        return True
