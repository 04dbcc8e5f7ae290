"""Whether a `saved_model.pb` is whole, as far as can be told without parsing it.

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
    """Why TensorFlow would refuse the file, as words after its name; None where it may be whole."""
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
    """How many bytes are missing at the end, and whether there is a graph or may be one.

    A file that is cut off ends within its graph. Raises ValueError where there is something else
    than a protocol buffer.
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
    """Whether a graph, binary or as text, reads the variables' files where they are there.

    TensorFlow 2 writes the operation that reads them also where there is no variable. It does not
    run there, because nothing uses what it reads.
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
    """Number and bytes of the field that begins so. Raises ValueError where it is none."""
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
