"""The frames of a TFRecord file.

Each record is its length (uint64), the length's checksum (uint32), the data, the data's checksum
(uint32), all little-endian. Checksums are CRC-32C, rotated and offset, because the data may hold
checksums itself. Source: tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details",
and tensorflow/core/lib/hash/crc32c.h (Mask).
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_LENGTH_BYTES = 8
_MASK_DELTA = 0xA282EAD8
# How much of an overlong record an error shows.
_SHOWN_BYTES = 256
# Most records of a file have the same length, so checked headers are cached.
_MOST_KNOWN_HEADERS = 10_000
_DAMAGED = -1


class FrameLost(Exception):
    """The framing is damaged, so nothing after byte `position` can be read."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Frames:
    """Consecutive records with their stored checksums.

    With `too_long`, the beginning of a single overlong record.
    """

    contents: list[bytes]
    checksums: list[bytes]
    too_long: bool = False

    def damaged(self) -> list[int]:
        """The indices of records whose data does not match its checksum."""
        crcs = np.array(list(map(google_crc32c.value, self.contents)), np.uint32)
        masked = ((crcs >> 15) | (crcs << 17)) + np.uint32(_MASK_DELTA)
        indices: list[int] = np.flatnonzero(
            masked != np.frombuffer(b"".join(self.checksums), "<u4")
        ).tolist()
        return indices


def masked_crc32c(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def is_frame(start: bytes) -> bool:
    """Whether a file with this beginning is a TFRecord file."""
    return len(start) >= _HEADER.size and _length_of(start[: _HEADER.size]) is not None


def frame(data: bytes) -> bytes:
    """Frame one record as in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, _CHECKSUM.pack(masked_crc32c(length)), data, _CHECKSUM.pack(masked_crc32c(data)))
    )


def read_frames(blocks: Iterable[bytes], *, max_bytes: int) -> Iterator[Frames]:
    """Yield the complete records of each block.

    Memory: one block and one record of `max_bytes`. Raises FrameLost.
    """
    source = filter(None, blocks)
    lengths = _Lengths()
    header_bytes, checksum_bytes = _HEADER.size, _CHECKSUM.size
    text, position = b"", 0
    while text or (text := next(source, b"")):
        contents: list[bytes] = []
        checksums: list[bytes] = []
        offset, length, needed = 0, 0, header_bytes
        while offset + needed <= len(text):
            start = offset + header_bytes
            length = lengths[text[offset:start]]
            end = start + length
            if not 0 <= length <= max_bytes or end + checksum_bytes > len(text):
                needed = header_bytes + length + checksum_bytes
                break
            contents.append(text[start:end])
            offset = end + checksum_bytes
            checksums.append(text[end:offset])
        if contents:
            yield Frames(contents, checksums)
        if length == _DAMAGED:
            raise FrameLost("its length does not match the length's checksum", position + offset)
        position, text = position + offset, text[offset:]
        if length > max_bytes:
            beginning, text = _skipped(text, source, needed, position)
            position += needed
            yield Frames([beginning], [], too_long=True)
        elif text:
            text = _filled(text, source, needed, position)


def _filled(text: bytes, source: Iterator[bytes], needed: int, position: int) -> bytes:
    """Read until at least `size` bytes are there. Raises FrameLost at the end of the content."""
    pieces, size = [text], len(text)
    while size < needed:
        block = next(source, b"")
        if not block:
            raise FrameLost("the file ends within it", position)
        pieces.append(block)
        size += len(block)
    return b"".join(pieces)


def _skipped(text: bytes, source: Iterator[bytes], size: int, position: int) -> tuple[bytes, bytes]:
    """Skip a record of `size` bytes; return its beginning and what follows. Raises FrameLost."""
    text = _filled(text, source, min(_HEADER.size + _SHOWN_BYTES, size), position)
    beginning = text[_HEADER.size : _HEADER.size + _SHOWN_BYTES]
    while size > len(text):
        size -= len(text)
        text = next(source, b"")
        if not text:
            raise FrameLost("the file ends within it", position)
    return beginning, text[size:]


class _Lengths(dict[bytes, int]):
    """The lengths of data by the headers before it; those of damaged headers are _DAMAGED."""

    def __missing__(self, header: bytes) -> int:
        if len(self) == _MOST_KNOWN_HEADERS:
            self.clear()
        length = _length_of(header)
        self[header] = _DAMAGED if length is None else length
        return self[header]


def _length_of(header: bytes) -> int | None:
    """The length of the data after it; None where that is damaged."""
    length: int
    length, checksum = _HEADER.unpack(header)
    return length if checksum == masked_crc32c(header[:_LENGTH_BYTES]) else None
