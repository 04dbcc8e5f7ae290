"""The frames of a TFRecord file.

Each record is its length (uint64), the length's checksum (uint32), the data, the data's checksum
(uint32), all little-endian. Checksums are CRC-32C, rotated and offset, because the data may hold
checksums itself. Source: tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details",
and tensorflow/core/lib/hash/crc32c.h (Mask).
"""

import struct

import google_crc32c

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
_LENGTH_BYTES = 8
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def is_frame(start: bytes) -> bool:
    """Whether a file that starts like this is a TFRecord file."""
    if len(start) < HEADER.size:
        return False
    checksum: int = HEADER.unpack_from(start)[1]
    return checksum == masked_crc32c(start[:_LENGTH_BYTES])


def frame(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, FOOTER.pack(masked_crc32c(length)), data, FOOTER.pack(masked_crc32c(data)))
    )
