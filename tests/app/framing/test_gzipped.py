import gzip
from collections.abc import Callable

import pytest

from app.errors import UnsupportedInput
from app.framing.gzipped import GzipCompressor, unpacked
from app.framing.tfrecord import frame

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))


def content(data: bytes, block: int) -> bytes:
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    return b"".join(unpacked(blocks, file="f"))


@pytest.mark.parametrize("block", [1000, 7, 1])
@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TEXT[:2000]),
        gzip.compress(TEXT[:10]) + gzip.compress(b"") + gzip.compress(TEXT[10:2000]) + b"\0" * 9,
        gzip.compress(gzip.compress(TEXT[:2000])),
        TEXT[:2000],
    ],
    ids=["one member", "members and padding", "twice", "plain"],
)
def test_what_was_packed_comes_out_wherever_blocks_end(data: bytes, block: int) -> None:
    assert content(data, block) == TEXT[:2000]


def test_unpacked_pieces_stay_near_a_mebibyte() -> None:
    """No piece is much larger than a mebibyte however well it was packed."""
    packed = gzip.compress(b"\0" * 30_000_000)
    pieces = list(unpacked([packed], file="f"))
    assert sum(map(len, pieces)) == 30_000_000
    assert max(map(len, pieces)) <= 1024 * 1024


def test_gzip_like_length_is_no_gzip() -> None:
    """Records whose length looks like gzip are no gzip."""
    record = frame(b"x" * 0x08_8B_1F)
    assert record.startswith(b"\x1f\x8b\x08")
    assert content(record, 5000) == record


@pytest.mark.parametrize("block", [100_000, 10])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "ends too early"),
        (lambda data: data[:15], "ends too early"),
        (lambda data: data[:40] + b"\xff" * 9 + data[49:], "damaged gzip"),
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:], "damaged gzip"),
        (lambda data: data[:-4] + b"\0\0\0\0", "damaged gzip"),
        (lambda data: data + b"more than a header has", "damaged gzip"),
        (lambda data: data + data[:-1], "ends too early"),
    ],
)
def test_damage_is_told_of(damage: Callable[[bytes], bytes], words: str, block: int) -> None:
    with pytest.raises(UnsupportedInput, match=words):
        content(damage(gzip.compress(TEXT)), block)


def test_packing_is_standard_and_stable() -> None:
    """What is packed here is read by others and always the same."""
    packed = []
    for _ in range(2):
        compressor = GzipCompressor()
        pieces = [compressor.compress(TEXT[n : n + 999]) for n in range(0, len(TEXT), 999)]
        packed.append(b"".join([*pieces, compressor.finish()]))
    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == TEXT
    assert len(packed[0]) < len(TEXT) / 3
