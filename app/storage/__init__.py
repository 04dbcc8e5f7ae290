"""gs:// objects and local files behind one small protocol."""

from app.storage.access import Connections, Storage
from app.storage.backend import Backend, StoredFile, Writer
from app.storage.location import Location, parse_location

__all__ = [
    "Backend",
    "Connections",
    "Location",
    "Storage",
    "StoredFile",
    "Writer",
    "parse_location",
]
