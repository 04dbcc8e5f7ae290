"""Objects in Google Cloud Storage, or in an emulator that STORAGE_EMULATOR_HOST names."""

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.fileio import BlobWriter
from requests import exceptions as request_exceptions

from app.errors import NotAllowed, NotFound, StorageFailed
from app.storage.backend import StoredFile, Writer
from app.storage.location import Location

_BLOCK_BYTES = 8 * 1024 * 1024
_CONTENT_TYPE = "application/x-ndjson"

logger = logging.getLogger(__name__)


class GcsBackend:
    """Reads are pinned to the generation that was listed; both ways a crc32c is verified.

    Requests are retried by Google's client, with its own backoff, where that is safe.
    """

    def __init__(self, project: str | None) -> None:
        try:
            # Only making and listing buckets needs a project, and user credentials name none.
            self._client = gcs.Client(project=project or "none")
        except auth_exceptions.DefaultCredentialsError as error:
            raise NotAllowed(f"no Google Cloud credentials for gs://: {error}") from None

    def find(self, location: Location) -> StoredFile | None:
        bucket = self._client.bucket(location.bucket)
        with _storage_errors_of(location, "storage.objects.get"):
            blob = bucket.get_blob(location.path)
        return None if blob is None else _stored_file(location, blob)

    def list_below(self, folder: Location) -> list[StoredFile]:
        with _storage_errors_of(folder, "storage.objects.list"):
            blobs = list(self._client.list_blobs(folder.bucket, prefix=folder.path))
        files = [
            _stored_file(Location("gs", folder.bucket, blob.name), blob)
            for blob in blobs
            # Consoles mark folders by empty objects whose names end in a slash.
            if not blob.name.endswith("/")
        ]
        return sorted(files, key=lambda file: file.location.path)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        blob = self._blob(file)
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        for start in range(0, file.size, _BLOCK_BYTES):
            end = min(start + _BLOCK_BYTES, file.size)
            with _storage_errors_of(file.location, "storage.objects.get"):
                block: bytes = blob.download_as_bytes(
                    start=start, end=end - 1, raw_download=True, checksum=None
                )
            if len(block) != end - start:
                raise StorageFailed(
                    f"{file.uri}: bytes {start} to {end} were asked for, {len(block)} came"
                )
            checksum.update(block)
            yield block
        found = int.from_bytes(checksum.digest(), "big")
        if file.crc32c is not None and found != file.crc32c:
            raise StorageFailed(
                f"{file.uri}: its crc32c is {file.crc32c:08x}, what came has {found:08x}"
            )

    def fetch(self, file: StoredFile, path: Path) -> None:
        with _storage_errors_of(file.location, "storage.objects.get"):
            self._blob(file).download_to_filename(str(path), raw_download=True, checksum="crc32c")

    def check_target(self, location: Location) -> None:
        """Any name is one for an object; whether it may be written, only writing can tell."""

    @contextmanager
    def create(self, location: Location) -> Iterator[Writer]:
        upload = _Upload(self._client.bucket(location.bucket).blob(location.path), location)
        try:
            yield upload
            upload.finish()
        except BaseException:
            upload.cancel()
            raise

    def _blob(self, file: StoredFile) -> Any:
        bucket = self._client.bucket(file.location.bucket)
        return bucket.blob(file.location.path, generation=file.generation)


class _Upload:
    """A resumable upload, or a single request for what fits into one block."""

    def __init__(self, blob: Any, location: Location) -> None:
        self._blob = blob
        self._location = location
        self._first_block: list[bytes] = []
        self._size = 0
        self._writer: Any = None

    def write(self, data: bytes) -> None:
        if self._writer is not None:
            with self._errors():
                self._writer.write(data)
            return
        self._first_block.append(data)
        self._size += len(data)
        if self._size >= _BLOCK_BYTES:
            with self._errors():
                self._writer = BlobWriter(
                    self._blob,
                    chunk_size=_BLOCK_BYTES,
                    content_type=_CONTENT_TYPE,
                    checksum="crc32c",
                )
                self._writer.write(b"".join(self._first_block))
            self._first_block.clear()

    def finish(self) -> None:
        with self._errors():
            if self._writer is not None:
                self._writer.close()
            else:
                self._blob.upload_from_string(
                    b"".join(self._first_block), content_type=_CONTENT_TYPE, checksum="crc32c"
                )

    def cancel(self) -> None:
        if self._writer is None:
            return
        try:
            with self._errors():
                self._writer.terminate()
        except (NotFound, NotAllowed, StorageFailed) as error:
            # The job already ends for a reason of its own; what was sent is no object yet, and
            # storage drops it after a week.
            logger.warning("the unfinished upload could not be cancelled: %s", error)

    def _errors(self) -> Any:
        return _storage_errors_of(self._location, "storage.objects.create")


def _stored_file(location: Location, blob: Any) -> StoredFile:
    return StoredFile(
        location,
        size=blob.size,
        generation=blob.generation,
        crc32c=int.from_bytes(base64.b64decode(blob.crc32c), "big") if blob.crc32c else None,
        content_encoding=blob.content_encoding or "",
    )


@contextmanager
def _storage_errors_of(location: Location, permission: str) -> Iterator[None]:
    """What Google's client raises, told as what it means; 403 and 404 stay what they are."""
    try:
        yield
    except api_exceptions.NotFound:
        raise NotFound(f"{location}: no such object or bucket") from None
    except (api_exceptions.Forbidden, api_exceptions.Unauthorized):
        raise NotAllowed(
            f"{location}: permission denied; this service's account needs {permission}"
        ) from None
    except api_exceptions.GoogleAPICallError as error:
        raise StorageFailed(
            f"{location}: storage answered {error.code}: {error.message}"
        ) from error
    except auth_exceptions.GoogleAuthError as error:
        raise NotAllowed(f"{location}: no usable credentials: {error}") from error
    except (InvalidResponse, DataCorruption, api_exceptions.RetryError) as error:
        raise StorageFailed(f"{location}: {error}") from error
    except request_exceptions.RequestException as error:
        raise StorageFailed(f"{location}: {type(error).__name__}: {error}") from error
