"""Objects in Google Cloud Storage, or in an emulator that STORAGE_EMULATOR_HOST names."""

import base64
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google.auth
import google_crc32c
import requests
import urllib3
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage as gcs
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import exceptions as request_exceptions
from requests.adapters import HTTPAdapter

from app.errors import NotAllowed, NotFound, StorageFailed
from app.parallel import GoOn, run_all
from app.storage.backend import StoredFile, Writer
from app.storage.location import Location

_BLOCK_BYTES = 1024 * 1024
_UPLOAD_BLOCK_BYTES = 4 * 1024 * 1024
_SLICE_BYTES = 32 * 1024 * 1024
_PARALLEL_SLICES = 4
_CONNECTIONS = 32
_MOST_FAILURES = 3
# To connect, and between two pieces of an answer.
_TIMEOUT_SECONDS = (10.0, 60.0)
_RETRY = DEFAULT_RETRY
_CONTENT_TYPE = "application/x-ndjson"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

logger = logging.getLogger(__name__)


class GcsBackend:
    """Reads are pinned to the generation that was listed; both ways a crc32c is verified.

    Requests are retried by Google's client, with its own backoff, where that is safe.
    """

    def __init__(self, project: str | None) -> None:
        credentials = _credentials()
        # Only making and listing buckets needs a project, and user credentials name none.
        self._client = gcs.Client(project=project or "none", credentials=credentials)
        self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # carries no types
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))

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
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        for block in self._stream(file, 0, file.size):
            checksum.update(block)
            yield block
        _check(file, int.from_bytes(checksum.digest(), "big"))

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        with path.open("wb") as target:
            target.truncate(file.size)
        slices = [
            partial(self._fetch_slice, file, path, start)
            for start in range(0, file.size, _SLICE_BYTES)
        ]
        run_all(slices, workers=_PARALLEL_SLICES, check=check)
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        with path.open("rb") as copied:
            while block := copied.read(_BLOCK_BYTES):
                checksum.update(block)
        _check(file, int.from_bytes(checksum.digest(), "big"))

    def _fetch_slice(self, file: StoredFile, path: Path, start: int, go_on: GoOn) -> None:
        go_on()
        with path.open("r+b") as target:
            target.seek(start)
            for block in self._stream(file, start, min(start + _SLICE_BYTES, file.size)):
                target.write(block)
                go_on()

    def _stream(self, file: StoredFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end` of this very generation, by as few requests as it takes.

        Google's client copies downloads in blocks of 8 KiB, which costs more than parsing them, so
        the documented request is made here: cloud.google.com/storage/docs/json_api/v1/objects/get
        """
        failures = 0
        while start < end:
            before = start
            with _storage_errors_of(file.location, "storage.objects.get"):
                response = _RETRY(self._open)(file, start, end)
            try:
                with response:
                    while block := response.raw.read(min(_BLOCK_BYTES, end - start)):
                        start += len(block)
                        yield block
            except urllib3.exceptions.HTTPError as error:
                logger.warning("%s: broke off at byte %d: %s", file.uri, start, error)
            failures = 0 if start > before else failures + 1
            if failures > _MOST_FAILURES:
                raise StorageFailed(f"{file.uri}: nothing comes after byte {start}")

    def _open(self, file: StoredFile, start: int, end: int) -> requests.Response:
        """Raises what the retry policy of Google's client knows to be worth another attempt."""
        name = quote(file.location.path, safe="")
        response = self._session.get(
            f"{self._client.api_endpoint}/download/storage/v1/b/{file.location.bucket}/o/{name}",
            params={"alt": "media", "generation": str(file.generation)},
            headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"},
            stream=True,
            timeout=_TIMEOUT_SECONDS,
        )
        if response.status_code not in (200, 206):
            with response:
                raise api_exceptions.from_http_response(response)  # type: ignore[no-untyped-call]  # ditto
        if response.status_code == 200 and start:
            response.close()
            raise StorageFailed(f"{file.uri}: storage does not answer ranges")
        return response

    def check_target(self, location: Location) -> None:
        """Any name is one for an object; whether it may be written, only writing can tell."""

    @contextmanager
    def create(self, location: Location) -> Iterator[Writer]:
        upload = _Upload(self._client.bucket(location.bucket).blob(location.path), location)
        try:
            yield upload
        finally:
            upload.cancel_unless_finished()


def _credentials() -> Any:
    """The service account's, or none for an emulator. Raises NotAllowed where there are none."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return AnonymousCredentials()  # type: ignore[no-untyped-call]  # carries no types
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except auth_exceptions.DefaultCredentialsError as error:
        raise NotAllowed(f"no Google Cloud credentials for gs://: {error}") from None
    return credentials


def _check(file: StoredFile, crc32c: int) -> None:
    if file.crc32c is not None and crc32c != file.crc32c:
        raise StorageFailed(
            f"{file.uri}: its crc32c is {file.crc32c:08x}, what came has {crc32c:08x}"
        )


class _Upload:
    """A resumable upload, or a single request for what fits into one block."""

    def __init__(self, blob: Any, location: Location) -> None:
        self._blob = blob
        self._location = location
        self._first_block: list[bytes] = []
        self._size = 0
        self._writer: Any = None
        self._finished = False

    def write(self, data: bytes) -> None:
        if self._writer is not None:
            with self._errors():
                self._writer.write(data)
            return
        self._first_block.append(data)
        self._size += len(data)
        if self._size >= _UPLOAD_BLOCK_BYTES:
            with self._errors():
                self._writer = BlobWriter(
                    self._blob,
                    chunk_size=_UPLOAD_BLOCK_BYTES,
                    content_type=_CONTENT_TYPE,
                    checksum="crc32c",
                    timeout=_TIMEOUT_SECONDS,
                )
                self._writer.write(b"".join(self._first_block))
            self._first_block.clear()

    def finish(self) -> None:
        with self._errors():
            if self._writer is not None:
                self._writer.close()
            else:
                self._blob.upload_from_string(
                    b"".join(self._first_block),
                    content_type=_CONTENT_TYPE,
                    checksum="crc32c",
                    timeout=_TIMEOUT_SECONDS,
                )
        self._finished = True

    def cancel_unless_finished(self) -> None:
        if self._finished or self._writer is None:
            return
        try:
            with self._errors():
                self._writer.terminate()
        except (NotFound, NotAllowed, StorageFailed) as error:
            # The job already ends for a reason of its own; what was sent is no object yet, and
            # storage drops it after a week.
            logger.warning("the unfinished upload could not be cancelled: %s", error)
        finally:
            # A writer that is thrown away with its buffer open would finish the upload.
            self._writer._buffer.close()  # noqa: SLF001  # the public close() is what must not run

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
