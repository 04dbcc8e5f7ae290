"""Checks a `saved_model.pb` without parsing it.

Source: tensorflow/core/protobuf/saved_model.proto; protobuf.dev/programming-guides/encoding.
"""

from pathlib import Path

from tfserving_launcher.wire_format import varint

# The field number of the graphs with their signatures.
_META_GRAPHS = 2
_MOST_FIELDS = 1000
_LONGEST_KEY_AND_SIZE = 20
_SHOWN_BYTES = 40
_BLOCK_BYTES = 1024 * 1024


def fault_of(path: Path) -> str | None:
    """Why TensorFlow would refuse the file, as words after its name; None if it looks complete."""
    with path.open("rb") as file:
        head = file.read(_SHOWN_BYTES)
    if not head:
        return "is empty"
    begins = f"it begins with {repr(head)[1:]}"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return f"is a web page (HTML or XML) and no SavedModel: {begins}"
    try:
        missing, has_graph = _outermost_fields(path)
    except ValueError:
        return f"is no SavedModel, or not a whole one: {begins}"
    if missing:
        size = path.stat().st_size
        return f"is cut off: it has {size} bytes, and must have {size + missing}"
    return None if has_graph else f"holds no graph, so it is cut off or no SavedModel: {begins}"


def _outermost_fields(path: Path) -> tuple[int, bool]:
    """The number of missing bytes, and whether there is a graph.

    A truncated file ends within its graph. Raises ValueError if this is not a protocol buffer.
    """
    size = path.stat().st_size
    offset = 0
    has_graph = False
    with path.open("rb") as file:
        for _ in range(_MOST_FIELDS):
            file.seek(offset)
            if not (begin := file.read(_LONGEST_KEY_AND_SIZE)):
                return 0, has_graph
            field, length = _measured(begin)
            offset += length
            has_graph |= field == _META_GRAPHS
            if offset > size:
                if field != _META_GRAPHS:
                    raise ValueError(f"field {field} goes beyond the end of the file")
                return offset - size, has_graph
    return 0, True


def restores_variables(path: Path) -> bool:
    """Whether a graph, binary or text, restores variables from files.

    TensorFlow 2 writes the restore operation even without variables, but then nothing uses it.
    """
    left = {b"RestoreV2", b"Assign"}
    longest = max(map(len, left))
    end = b""
    with path.open("rb") as file:
        while left and (block := file.read(_BLOCK_BYTES)):
            left = {name for name in left if name not in end + block}
            end = block[-longest:]
    return not left


def _measured(begin: bytes) -> tuple[int, int]:
    """The number and the size of the field at the beginning. Raises ValueError if it is invalid."""
    key, offset = varint(begin, 0)
    number = key >> 3
    if number == 0:
        raise ValueError("fields are numbered from 1")
    match key & 7:
        case 0:
            _, offset = varint(begin, offset)
            return number, offset
        case 1:
            return number, offset + 8
        case 2:
            size, offset = varint(begin, offset)
            return number, offset + size
        case 5:
            return number, offset + 4
        case wire_type:
            raise ValueError(f"wire type {wire_type}")
