"""What an upload is to make: the object's description, its checksum, and whose it is."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import google_crc32c

from app.errors import Aborted, TransferBroken
from app.storage.backend import WRITER_KEY, ContentType, StoredFile
from app.storage.gcs_requests import GcsRequests
from app.storage.location import Location


def _new_checksum() -> Any:
    return google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types


@dataclass(slots=True, kw_only=True)
class NewObject:
    """An object that replaces exactly `replacing`, or nothing. `metadata` may grow until its end.

    Sources: cloud.google.com/storage/docs/request-preconditions and
    cloud.google.com/storage/docs/hashes-etags.
    """

    location: Location
    content: ContentType
    replacing: StoredFile | None
    writer_id: str
    metadata: dict[str, str]
    _first_metadata: dict[str, str] = field(init=False)
    _checksum: Any = field(default_factory=_new_checksum)

    def __post_init__(self) -> None:
        self._first_metadata = {WRITER_KEY: self.writer_id, **self.metadata}

    def add(self, data: bytes) -> None:
        """More of the content, for the checksum."""
        self._checksum.update(data)

    @property
    def crc32c(self) -> int:
        return int.from_bytes(self._checksum.digest(), "big")

    @property
    def crc32c_text(self) -> str:
        """The checksum as the API writes it."""
        return base64.b64encode(self._checksum.digest()).decode()

    def description(self) -> dict[str, Any]:
        return {
            "name": self.location.path,
            "contentType": self.content.type,
            "metadata": {WRITER_KEY: self.writer_id, **self.metadata},
        } | ({"contentEncoding": self.content.encoding} if self.content.encoding else {})

    def target(self) -> Mapping[str, str]:
        """The parameters that name the object and what it may replace."""
        generation = 0 if self.replacing is None else self.replacing.generation
        return {"name": self.location.path, "ifGenerationMatch": str(generation)}

    def found(self, requests_: GcsRequests) -> StoredFile | None:
        """The object that is there, if this writer sent it as this very object; else None.

        Another run of a job has the same writer, but not always the same fingerprint.
        """
        found = requests_.find(self.location)
        if found is None or not self._first_metadata.items() <= found.metadata.items():
            return None
        return found

    def found_whole(self, requests_: GcsRequests) -> StoredFile | None:
        """The object that is there, if this writer sent it completely; else None."""
        found = self.found(requests_)
        return found if found is not None and found.crc32c == self.crc32c else None

    def damage(self, file: StoredFile) -> str:
        """In words, how the file differs from this object."""
        return (
            f"what arrived has the crc32c {file.crc32c or 0:08x}, what was sent {self.crc32c:08x}"
        )

    def conflict(self) -> Aborted:
        return Aborted(
            f"{self.location}: somebody else has written it while this job ran; call again to go"
            " on from there"
        )

    def broken(self, why: str) -> TransferBroken:
        return TransferBroken(f"{self.location}: the upload broke off: {why}")
