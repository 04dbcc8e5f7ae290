"""The protocol of storage backends, and the values that they exchange."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.storage.location import Location


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object or file at the time of listing. `size` is in bytes.

    `generation` pins later reads and writes to this very content: an object's own, or the time in
    nanoseconds when a local file was changed. `crc32c` is an object's checksum, None for a local
    file. `content_encoding` is empty for bytes stored as they are. `metadata` is what the writer
    of an output has noted about it.

    Local files may have several names, through symbolic links: `real_path` is the same for all of
    them, and `links` counts the links in this name below the folder that was listed. An object has
    one name, and an empty `real_path`.
    """

    location: Location
    size: int
    generation: int | None = None
    crc32c: int | None = None
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    real_path: str = ""
    links: int = 0

    @property
    def uri(self) -> str:
        return str(self.location)

    @property
    def identity(self) -> str:
        """The same text for all names of one file."""
        return self.real_path or self.location.identity

    @property
    def is_placeholder(self) -> bool:
        """Whether this is an empty object that marks a folder, as consoles and Hadoop write."""
        return self.size == 0 and self.location.path.endswith(("/", "_$folder$"))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The content of a file. `file` has its generation, and no metadata."""

    file: StoredFile
    content: bytes


@dataclass(frozen=True, slots=True)
class ContentType:
    """The Content-Type and Content-Encoding of an object. Local files have neither."""

    type: str
    encoding: str = ""


# Each chunk of a resumable upload but the last one is a multiple of it:
# cloud.google.com/storage/docs/performing-resumable-uploads
UPLOAD_UNIT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How long a failing request is retried, how long an answer may pause, and the size of one
    request of an upload, which is kept in memory until storage has persisted it.
    """

    retry_seconds: float = 120.0
    silence_seconds: float = 30.0
    upload_chunk_bytes: int = 16 * UPLOAD_UNIT_BYTES


# Metadata key: the job that began to write an object.
WRITER_KEY = "embedded-tf-writer"
# Browsers display text/plain; they download application/x-ndjson and text/csv.
TEXT = ContentType("text/plain; charset=utf-8")
JSON = ContentType("application/json")
GZIPPED_TEXT = ContentType("text/plain; charset=utf-8", "gzip")


class Writer(Protocol):
    """Writes a new file sequentially. The file appears when `finish` returns."""

    def write(self, data: bytes) -> None: ...

    def finish(self, metadata: Mapping[str, str]) -> StoredFile:
        """Publish the file, with more `metadata` for `StoredFile.metadata`.

        A large object gets this part a moment later, or not at all where storage refuses it.
        """


class Wanted(Protocol):
    """Selects files below a folder by their relative names."""

    def __call__(self, name: str) -> bool: ...

    def may_be_in(self, folder: str) -> bool:
        """Whether a selected file may be below this folder. Its name ends in a slash."""

    def passes(self, folder: str) -> bool:
        """Whether to ask about names below this folder at all."""


class Backend(Protocol):
    """One kind of storage. Every method raises NotFound, PermissionDenied or StorageFailed.

    A file that is no longer what was listed raises Aborted.
    """

    def find(self, location: Location) -> StoredFile | None:
        """The file at exactly this location, or None."""

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        """The files that exist at these locations, found with as few requests as possible."""

    def list_below(
        self, folder: Location, name_prefix: str = "", wanted: Wanted | None = None
    ) -> list[StoredFile]:
        """All files below a folder at any depth, sorted by name; empty where there is none.

        Only those whose names in it begin with `name_prefix` and are `wanted`. A local file comes
        once for each name that leads to it. Raises NotFound for a link that leads nowhere and is
        `wanted`; where all are, such links are passed over.
        """

    def find_beginning(self, prefix: Location) -> list[StoredFile] | None:
        """All files whose locations begin with `prefix`, or None where that takes more than a
        request, or none at all.
        """

    def list_folders(self, folder: Location) -> list[str]:
        """The names of the folders directly below a folder, sorted; empty where there is none."""

    def read(self, file: StoredFile) -> Iterator[bytes]:
        """The content in blocks, as it is stored: gzipped, where `content_encoding` says so.

        Verifies the checksum at the end. Raises TransferBroken on a mismatch.
        """

    def load(self, location: Location) -> Loaded | None:
        """The whole content of a small file and its generation, in one request; None if absent."""

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        """Copy the content to a new local file in an existing folder.

        Calls `check` for each block; what it raises ends the copy. Raises OSError if the copy
        cannot be written.
        """

    def check_target(self, location: Location) -> None:
        """Raise what `create` would raise for this location."""

    def check_source(self, location: Location) -> None:
        """Raises PermissionDenied for a file that may not be read. For callers that open it."""

    def create(
        self,
        location: Location,
        content: ContentType,
        replacing: StoredFile | None,
        writer_id: str,
        metadata: Mapping[str, str],
    ) -> AbstractContextManager[Writer]:
        """Create a file atomically: it appears if the block calls `finish`, else not at all.

        It has `metadata` from its first moment on. It replaces exactly `replacing`, or nothing if
        that is None. Raises Aborted if another file is there by then, unless `writer_id` shows that
        this writer sent it. Raises TransferBroken if the upload is lost.
        """

    def delete(self, file: StoredFile) -> None:
        """Delete exactly this generation, if it still exists."""
