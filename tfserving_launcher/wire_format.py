"""The fields of a protocol buffer, one at a time: for messages too large to be parsed whole.

Source of the format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator


def length_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that has a length: strings, bytes and messages.

    Nothing is copied. Raises ValueError where the bytes are no message.
    """
    offset = 0
    while offset < len(message):
        key, offset = varint(message, offset)
        match key & 7:
            case 0:
                _, offset = varint(message, offset)
            case 1:
                offset += 8
            case 2:
                size, offset = varint(message, offset)
                if offset + size > len(message):
                    raise ValueError(f"a field of {size} bytes goes beyond the end of its message")
                yield key >> 3, message[offset : offset + size]
                offset += size
            case 5:
                offset += 4
            case wire_type:
                raise ValueError(f"no protocol buffer: wire type {wire_type} at byte {offset}")


def varint(message: bytes | memoryview, offset: int) -> tuple[int, int]:
    """The number that begins at `offset`, and the offset after it.

    Raises ValueError where it does not end within the message, or within ten bytes.
    """
    value = shift = 0
    while shift < 64:
        if offset >= len(message):
            break
        byte = message[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise ValueError(f"no protocol buffer: a number without an end at byte {offset}")
