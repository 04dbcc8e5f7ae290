"""Reads the required sizes of a checkpoint's data files from its index.

The index is a sorted table as in LevelDB: blocks, each with a compression type and a checksum, and
a footer that points to the index block.
Source: tensorflow/core/lib/io/format.h, table_builder.cc and block.cc;
tensorflow/core/util/tensor_bundle/tensor_bundle.h and tensorflow/core/protobuf/tensor_bundle.proto.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from app.framing.tfrecord import masked_crc32c
from tfserving_launcher.protos import BundleEntryProto, BundleHeaderProto
from tfserving_launcher.wire_format import varint

# The footer: two handles, padded, and the magic number.
_FOOTER_BYTES = 48
_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
# After a block: a byte for its compression, and the checksum of both.
_TRAILER_BYTES = 5
_CHECKSUM = struct.Struct("<I")
_UNCOMPRESSED = 0
_HEADER_KEY = b""
# File names have five digits for the shard.
_MOST_SHARDS = 99_999


class DamagedIndex(Exception):
    """TensorFlow would refuse this index. The message continues the file's name."""


class UnreadIndex(Exception):
    """The index has a form that this reader does not support, but TensorFlow may."""


def shard_sizes(index: bytes) -> dict[str, int]:
    """The minimum size of each data file, by the part of its name after `variables.`.

    Files without tensors are left out. Raises DamagedIndex or UnreadIndex.
    """
    if len(index) < _FOOTER_BYTES or not index.endswith(_MAGIC):
        raise DamagedIndex(
            f"is cut off or no index of variables: its {len(index)} bytes do not end as one does"
        )
    try:
        return _shard_sizes(index)
    except (ValueError, IndexError, struct.error, DecodeError) as error:
        raise UnreadIndex(str(error)) from error


def _shard_sizes(index: bytes) -> dict[str, int]:
    footer = index[-_FOOTER_BYTES:]
    _, offset = _handle(footer, 0)
    (start, size), _ = _handle(footer, offset)
    # The header has the empty key, so it comes first.
    shards = 0
    needed: dict[int, int] = defaultdict(int)
    # Reject duplicate handles, because each would be read again.
    bytes_left = len(index)
    for _, value in _entries(_block(index, start, size)):
        (start, size), _ = _handle(value, 0)
        bytes_left -= size
        if bytes_left < 0:
            raise UnreadIndex("its blocks overlap")
        for key, message in _entries(_block(index, start, size)):
            if key == _HEADER_KEY:
                shards = BundleHeaderProto.FromString(message).num_shards
                continue
            entry = BundleEntryProto.FromString(message)
            if not 0 <= entry.shard_id < shards <= _MOST_SHARDS:
                raise UnreadIndex(f"it has a tensor in data file {entry.shard_id} of {shards}")
            # A sliced tensor has no bytes under its own name.
            if not entry.slices:
                end = entry.offset + entry.size if entry.size > 0 else 0
                needed[entry.shard_id] = max(needed[entry.shard_id], end)
    return {f"data-{shard:05}-of-{shards:05}": size for shard, size in sorted(needed.items())}


def _handle(data: bytes, offset: int) -> tuple[tuple[int, int], int]:
    """The offset and size of a block, and the position after the handle."""
    start, offset = varint(data, offset)
    size, offset = varint(data, offset)
    return (start, size), offset


def _block(index: bytes, start: int, size: int) -> bytes:
    end = start + size
    if end + _TRAILER_BYTES > len(index):
        raise DamagedIndex(
            f"is cut off: it has {len(index)} bytes, and must have more than {end + _TRAILER_BYTES}"
        )
    (checksum,) = _CHECKSUM.unpack_from(index, end + 1)
    if checksum != masked_crc32c(index[start : end + 1]):
        raise DamagedIndex("is damaged: its checksum does not fit its content")
    if index[end] != _UNCOMPRESSED:
        raise UnreadIndex("it is compressed")
    return index[start:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in order. Keys are prefix-compressed."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (restarts + 1)
    key, offset = b"", 0
    while offset < end:
        shared, offset = varint(block, offset)
        own, offset = varint(block, offset)
        size, offset = varint(block, offset)
        if shared > len(key) or offset + own + size > end:
            raise UnreadIndex(f"its entry at byte {offset} does not fit")
        key = key[:shared] + block[offset : offset + own]
        yield key, block[offset + own : offset + own + size]
        offset += own + size
