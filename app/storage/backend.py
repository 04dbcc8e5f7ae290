"""What every kind of storage can do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.storage.location import Location


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One object or file as it was when listed. `size` is in bytes.

    `generation` pins later reads of an object to this very content; `crc32c` is its checksum.
    Both are None for local files. `content_encoding` is empty for bytes stored as they are.
    """

    location: Location
    size: int
    generation: int | None = None
    crc32c: int | None = None
    content_encoding: str = ""

    @property
    def uri(self) -> str:
        return str(self.location)


class Writer(Protocol):
    """Takes the bytes of a new file in order. The file appears when `finish` returns."""

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


class Backend(Protocol):
    """One kind of storage. Every method raises NotFound, NotAllowed or StorageFailed."""

    def find(self, location: Location) -> StoredFile | None:
        """The file at exactly this place, or None."""

    def list_below(self, folder: Location) -> list[StoredFile]:
        """All files below a folder at any depth, sorted by name; empty where there is none."""

    def read(self, file: StoredFile) -> Iterator[bytes]:
        """The content in blocks. Where a checksum is known it is checked after the last one."""

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        """Copies the content to a new local file, its folder being there.

        `check` is called for each block; what it raises ends the copy.
        """

    def check_target(self, location: Location) -> None:
        """Raises what `create` would raise for the place alone, before anything is done."""

    def create(self, location: Location) -> AbstractContextManager[Writer]:
        """A new file, whole if it is finished in the block, and not there at all if it is not."""
