"""The fields of a protocol buffer, one at a time: for messages too large to be parsed whole.

Source of the format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator


def length_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that has a length: strings, bytes and messages.

    Nothing is copied. Raises ValueError where the bytes are no message.
    """
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        match key & 7:
            case 0:
                _, place = varint(message, place)
            case 1:
                place += 8
            case 2:
                size, place = varint(message, place)
                if place + size > len(message):
                    raise ValueError(f"a field of {size} bytes goes beyond the end of its message")
                yield key >> 3, message[place : place + size]
                place += size
            case 5:
                place += 4
            case wire_type:
                raise ValueError(f"no protocol buffer: wire type {wire_type} at byte {place}")


def varint(message: bytes | memoryview, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and the place after it.

    Raises ValueError where it does not end within the message, or within ten bytes.
    """
    value = shift = 0
    while shift < 64:
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError(f"no protocol buffer: a number without an end at byte {place}")
