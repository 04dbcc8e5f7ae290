"""Cloud Storage objects and local files behind one protocol."""

from app.storage.access import Connections, Storage
from app.storage.backend import (
    GZIPPED_TEXT,
    JSON,
    TEXT,
    WRITER_KEY,
    Backend,
    ContentType,
    Loaded,
    StoredFile,
    TransferLimits,
    Writer,
)
from app.storage.location import Location, common_prefix, parse_location

__all__ = [
    "GZIPPED_TEXT",
    "JSON",
    "TEXT",
    "WRITER_KEY",
    "Backend",
    "Connections",
    "ContentType",
    "Loaded",
    "Location",
    "Storage",
    "StoredFile",
    "TransferLimits",
    "Writer",
    "common_prefix",
    "parse_location",
]
