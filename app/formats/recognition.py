"""Recognises file formats by their first bytes, whatever their names say.

Sources: parquet.apache.org/docs/file-format, avro.apache.org/docs (object container files),
PKWARE's APPNOTE.TXT (zip, which xlsx is), RFC 8878 (zstd), sourceware.org/bzip2, tukaani.org/xz,
RFC 2083 (PNG), ITU-T T.81 (JPEG), unicode.org/faq/utf_bom.html.
"""

import re
from collections.abc import Iterator
from itertools import chain

from app.config.file_format import InputFormat
from app.errors import UnsupportedInput
from app.framing.tfrecord import is_frame
from tfserving_launcher import Signature

# Enough for a JSON key after some blanks.
_BEGINNING_BYTES = 256
_UNPACK = "unpack it, or compress it with gzip, which is read"
_CONVERT = "write it as JSON lines, csv or TFRecord"
_ONE_FILE = (
    "input_format=file takes each file as an instance, input_format=file-list a list of URIs"
)
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "Parquet", f"{_CONVERT}: pandas.read_parquet(...).to_json(..., lines=True)"),
    (b"Obj\x01", "Avro", _CONVERT),
    (b"PK\x03\x04", "a zip archive, or an xlsx table", f"{_UNPACK}; save a table as csv"),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"\xff\xd8\xff", "a JPEG image", _ONE_FILE),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _ONE_FILE),
    (b"\xff\xfe", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 makes it UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 makes it UTF-8"),
)
_INSTANCES = re.compile(rb'\s*\{\s*"(?P<key>instances|inputs)"\s*:\s*[\[{]')
# A JSON line cannot end after its first bracket. A row that is a list beginning with an object is
# valid only if that object is {"b64": ...}.
_ARRAY = re.compile(rb'\s*\[\s*(?:\r?\n|\{(?!\s*"b64"))')
_OBJECT_OVER_LINES = re.compile(rb"\s*\{[ \t]*\r?\n")


def beginning_of(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Peek at the first bytes; return them and the whole content."""
    beginning = b""
    while len(beginning) < _BEGINNING_BYTES and (block := next(blocks, b"")):
        beginning += block
    return beginning, chain([beginning] if beginning else [], blocks)


def is_tfrecord(beginning: bytes) -> bool:
    """Whether a file that begins so is TFRecord: a length and its checksum come first."""
    return is_frame(beginning)


def check_beginning(
    beginning: bytes, file_format: InputFormat, signature: Signature, file: str
) -> None:
    """Raise UnsupportedInput if the file has another format, with advice on what to do."""
    if file_format not in ("jsonl", "csv", "text", "file-list"):
        return
    for magic, what, help_ in _MAGIC:
        if beginning.startswith(magic):
            raise _refused(file, f"is {what}", help_)
    if file_format != "jsonl":
        return
    text = beginning.removeprefix(b"\xef\xbb\xbf")
    if (match := _INSTANCES.match(text)) and match["key"].decode() not in signature.inputs:
        key = match["key"].decode()
        raise _refused(
            file,
            f'is one JSON object with "{key}", as TF Serving takes it, and not JSON lines',
            f"jq -c '.{key}[]' makes a line of each instance",
        )
    if _ARRAY.match(text):
        raise _refused(
            file,
            "is one JSON array, and not JSON lines",
            "jq -c '.[]' makes a line of each element",
        )
    if _OBJECT_OVER_LINES.match(text):
        raise _refused(
            file, "holds JSON over several lines, and not JSON lines", "jq -c . makes lines of it"
        )


def _refused(file: str, found: str, help_: str) -> UnsupportedInput:
    return UnsupportedInput(f"{file} {found}; {help_}")
