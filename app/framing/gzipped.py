"""Streaming gzip decompression and compression: RFC 1952.

A file may be several members, one after the other, as parallel compressors write it; zeros may
pad its end, as tapes do.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from isal import igzip_lib, isal_zlib

from app.errors import UnsupportedInput
from app.framing.tfrecord import is_frame

_MAGIC = b"\x1f\x8b\x08"
_MAGIC_NEEDS = 12
_PIECE_BYTES = 1024 * 1024
# The first input chunk of a member. zlib copies what follows a member's end, so it stays small.
_FIRST_PIECE_BYTES = 64
_PADDING = re.compile(rb"\0*+")
_LEVEL = 2
_GZIP_WINDOW = 31  # zlib's parameter for a gzip header: zlib.net/manual.html, deflateInit2
# Some objects are gzipped twice: by their writer, and on upload.
_MOST_LAYERS = 2


def unpacked(blocks: Iterable[bytes], *, file: str) -> Iterator[bytes]:
    """Decompress blocks that are gzip; pass all others through.

    The content decides, because names and metadata may be wrong. Raises UnsupportedInput if the
    gzip data is damaged or truncated.
    """
    layers = blocks
    for _ in range(_MOST_LAYERS):
        layers = _one_layer_less(layers, file)
    return iter(layers)


def checked(blocks: Iterable[bytes], check: Callable[[], object]) -> Iterator[bytes]:
    """Pass blocks through, and call `check` for each. What it raises ends the iteration."""
    for block in blocks:
        check()
        yield block


def decoded(blocks: Iterable[bytes], *, file: str) -> Iterator[bytes]:
    """Decompress blocks that are known to be gzip. Raises UnsupportedInput."""
    return _decompressed(blocks, file)


def _one_layer_less(blocks: Iterable[bytes], file: str) -> Iterator[bytes]:
    source = iter(blocks)
    start = b""
    while len(start) < _MAGIC_NEEDS and (block := next(source, None)) is not None:
        start += block
    # A TFRecord file begins with a length, whose bytes may look like gzip.
    if start.startswith(_MAGIC) and not is_frame(start):
        yield from _decompressed(_with(start, source), file)
    else:
        yield from _with(start, source)


def _with(start: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if start:
        yield start
    yield from rest


def _decompressed(blocks: Iterable[bytes], file: str) -> Iterator[bytes]:
    """Yield the content of all members in blocks of up to a mebibyte, tiny ones joined."""
    ready = bytearray()
    try:
        for text in _members(blocks, file):
            if len(ready) + len(text) > _PIECE_BYTES:
                yield bytes(ready)
                ready.clear()
            ready += text
    except UnsupportedInput:
        yield bytes(ready)
        raise
    if ready:
        yield bytes(ready)


def _members(blocks: Iterable[bytes], file: str) -> Iterator[bytes]:
    """Decompress member by member. Each gets about twice its length, so tiny ones stay cheap."""
    member: igzip_lib.IgzipDecompressor | None = None
    size = read = 0
    for block in blocks:
        offset = 0
        while offset < len(block):
            if member is None:
                padding = _PADDING.match(block, offset)
                assert padding is not None
                offset = padding.end()
                if offset == len(block):
                    break
                member, size = _new_member(), _FIRST_PIECE_BYTES
            piece = block[offset : offset + size]
            try:
                yield from _texts(member, piece)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stubs call it a plain object
                raise UnsupportedInput(
                    f"{file}: damaged gzip, in the {_PIECE_BYTES // 1024} KiB after byte {read}:"
                    f" {error}"
                ) from None
            offset += len(piece)
            size = min(2 * size, _PIECE_BYTES)
            if member.eof:
                offset -= len(member.unused_data)
                member = None
        read += len(block)
    if member is not None:
        raise UnsupportedInput(f"{file}: gzipped, and it ends too early, after byte {read}")


def _texts(member: igzip_lib.IgzipDecompressor, piece: bytes) -> Iterator[bytes]:
    """Yield a decompressed piece of a member, at most a mebibyte at a time."""
    while text := member.decompress(piece, _PIECE_BYTES):
        yield text
        if member.eof:
            return
        piece = b""


def _new_member() -> igzip_lib.IgzipDecompressor:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


class GzipCompressor:
    """Writes one gzip member, reproducibly: without a name or a time."""

    def __init__(self) -> None:
        self._stream = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)

    def compress(self, data: bytes) -> bytes:
        """Compress `data`; return the output that is ready, which may be empty."""
        return self._stream.compress(data)

    def finish(self) -> bytes:
        """The rest."""
        return self._stream.flush()
