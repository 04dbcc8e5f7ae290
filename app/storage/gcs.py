"""Objects in Google Cloud Storage, or in an emulator that STORAGE_EMULATOR_HOST names."""

import base64
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from google.cloud.storage import Client

from app.concurrency.parallel import GoOn, run_all
from app.errors import Aborted, NotFound, PermissionDenied, StorageFailed, TransferBroken
from app.storage.backend import ContentType, Loaded, StoredFile, Wanted, Writer
from app.storage.emulator import check_emulator, emulator_url
from app.storage.gcs_answers import error_of, raise_for
from app.storage.gcs_upload import Upload
from app.storage.location import Location
from app.storage.retrying import BadAnswer, RetryPolicy, in_words
from app.storage.sessions import authorized_session

_BLOCK_BYTES = 1024 * 1024
_SLICE_BYTES = 32 * 1024 * 1024
_PARALLEL_SLICES = 4
_FETCH_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GET = "storage.objects.get"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GcsClients:
    """Google's client for metadata and a session for content. Both pool connections."""

    client: Client
    session: AuthorizedSession

    @classmethod
    def connect(cls, project: str | None) -> "GcsClients":
        """Raises PermissionDenied where there are no credentials, StorageFailed for a dead
        emulator.
        """
        emulator = emulator_url()
        if emulator is not None:
            check_emulator(emulator)
        credentials = _credentials(emulator)
        client = Client(
            # A project is needed only to create or list buckets, and user credentials have none.
            project=project or "none",
            credentials=credentials,
            client_options=None if emulator is None else {"api_endpoint": emulator},
            _http=authorized_session(credentials),
        )
        return cls(client, authorized_session(credentials))


class GcsBackend:
    """Reads and writes objects with generation preconditions, and verifies their crc32c."""

    def __init__(self, clients: GcsClients, policy: RetryPolicy, upload_chunk_bytes: int) -> None:
        self._client = clients.client
        self._session = clients.session
        self._policy = policy
        self._upload_chunk_bytes = upload_chunk_bytes

    def find(self, location: Location) -> StoredFile | None:
        def request() -> Any:
            bucket = self._client.bucket(location.bucket)
            return bucket.get_blob(location.path, retry=None, timeout=self._policy.timeout)

        blob = self._policy.call(location, _GET, request)
        return None if blob is None else _stored_file(location, blob)

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        wanted = set(locations)
        found: dict[Location, StoredFile] = {}
        for bucket in {location.bucket for location in wanted}:
            names = [location.path for location in wanted if location.bucket == bucket]
            prefix = Location("gs", bucket, _common_prefix(names))
            found.update((file.location, file) for file in self._list(prefix))
        return {location: file for location, file in found.items() if location in wanted}

    def list_below(
        self, folder: Location, name_prefix: str = "", wanted: Wanted | None = None
    ) -> list[StoredFile]:
        files = self._list(folder.below(name_prefix))
        return sorted(
            (
                file
                for file in files
                if wanted is None or wanted(file.location.path.removeprefix(folder.path))
            ),
            key=lambda file: file.location.path,
        )

    def list_folders(self, folder: Location) -> list[str]:
        def request() -> set[str]:
            listing = self._client.list_blobs(
                folder.bucket,
                prefix=folder.path,
                delimiter="/",
                retry=None,
                timeout=self._policy.timeout,
            )
            for _ in listing:  # its prefixes are complete after its last page
                pass
            return set(listing.prefixes)

        found = self._policy.call(folder, "storage.objects.list", request)
        return sorted(path.removeprefix(folder.path).rstrip("/") for path in found)

    def _list(self, prefix: Location) -> list[StoredFile]:
        def request() -> list[Any]:
            return list(
                self._client.list_blobs(
                    prefix.bucket, prefix=prefix.path, retry=None, timeout=self._policy.timeout
                )
            )

        return [
            _stored_file(Location("gs", prefix.bucket, blob.name), blob)
            for blob in self._policy.call(prefix, "storage.objects.list", request)
        ]

    def read(self, file: StoredFile) -> Iterator[bytes]:
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        for block in self._stream(file, 0, file.size):
            checksum.update(block)
            yield block
        _check(file, int.from_bytes(checksum.digest(), "big"))

    def load(self, location: Location) -> Loaded | None:
        def request() -> Loaded | None:
            response = self._session.get(
                self._media(location),
                params={"alt": "media"},
                headers={"Accept-Encoding": "identity"},
                timeout=self._policy.timeout,
            )
            with response:
                if response.status_code == requests.codes.not_found:
                    return None
                raise_for(response)
                return _loaded(location, response)

        return self._policy.call(location, _GET, request)

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        for last_attempt in (*[False] * (_FETCH_ATTEMPTS - 1), True):
            try:
                self._fetch_once(file, path, check)
            except TransferBroken as error:
                if last_attempt:
                    raise StorageFailed(error.message) from None
                logger.warning("%s; it is fetched again", error)
            else:
                return

    def _fetch_once(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
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
        """Yield bytes `start` to `end` of this generation, with as few requests as possible.

        Google's client copies downloads in blocks of 8 KiB, which costs more than parsing them, so
        the documented request is made here: cloud.google.com/storage/docs/json_api/v1/objects/get
        """
        moved = time.monotonic()
        while start < end:
            before, why = start, "the answer ended too early"
            response = self._policy.call(file.location, _GET, partial(self._open, file, start, end))
            try:
                with response:
                    while block := response.raw.read(min(_BLOCK_BYTES, end - start)):
                        start += len(block)
                        yield block
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = in_words(error)
            if start == end:
                return
            logger.warning("%s: broke off at byte %d: %s", file.uri, start, why)
            if start > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > self._policy.retry_seconds:
                raise StorageFailed(f"{file.uri}: nothing comes after byte {start}: {why}")
            else:
                self._policy.deadline.pause(_PAUSE_SECONDS)

    def _open(self, file: StoredFile, start: int, end: int) -> requests.Response:
        """Open a ranged download. Raises errors that the retry policy classifies."""
        # Accepting gzip avoids decompressive transcoding, which breaks ranges and checksums:
        # cloud.google.com/storage/docs/transcoding
        accepted = file.content_encoding or "identity"
        response = self._session.get(
            self._media(file.location),
            params={"alt": "media", "generation": str(file.generation)},
            headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": accepted},
            stream=True,
            timeout=self._policy.timeout,
        )
        if response.status_code == 404:
            response.close()
            raise self._gone(file)
        if response.status_code not in (200, 206):
            with response:
                raise error_of(response)
        if response.status_code == 200 and start:
            response.close()
            raise BadAnswer("storage does not answer ranges")
        return response

    def _media(self, location: Location) -> str:
        """The URL of an object's content."""
        name = quote(location.path, safe="")
        return f"{self._client.api_endpoint}/download/storage/v1/b/{location.bucket}/o/{name}"

    def _gone(self, file: StoredFile) -> NotFound | Aborted:
        if self.find(file.location) is None:
            return NotFound(f"{file.uri}: no such object; it was there when the job began")
        return Aborted(
            f"{file.uri}: replaced since the job began, so what was read of it does not count"
        )

    def check_target(self, location: Location) -> None:
        """Accept any name. Only writing can tell whether it is permitted."""

    def check_source(self, location: Location) -> None:
        """Accept any object: reads go through this backend only."""

    @contextmanager
    def create(
        self, location: Location, content: ContentType, replacing: StoredFile | None, writer_id: str
    ) -> Iterator[Writer]:
        upload = Upload(
            self._session,
            self._client.api_endpoint,
            location,
            content=content,
            replacing=replacing,
            writer_id=writer_id,
            chunk_bytes=self._upload_chunk_bytes,
            policy=self._policy,
            find=self.find,
        )
        try:
            yield upload
        finally:
            upload.cancel_unless_finished()

    def delete(self, file: StoredFile) -> None:
        def request() -> None:
            bucket = self._client.bucket(file.location.bucket)
            try:
                bucket.delete_blob(
                    file.location.path,
                    if_generation_match=file.generation,
                    retry=None,
                    timeout=self._policy.timeout,
                )
            except (api_exceptions.NotFound, api_exceptions.PreconditionFailed):
                logger.info("%s is gone already, or has been replaced", file.uri)

        self._policy.call(file.location, "storage.objects.delete", request)


def _common_prefix(names: list[str]) -> str:
    first, last = min(names), max(names)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: len(list(same))]


def _credentials(emulator: str | None) -> Any:
    """The service account's, or anonymous ones for an emulator. Raises PermissionDenied."""
    if emulator is not None:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]  # carries no types
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except auth_exceptions.DefaultCredentialsError:
        raise PermissionDenied(
            "no Google Cloud credentials for gs://: the service needs a service account; on a"
            " laptop, gcloud auth application-default login makes them"
        ) from None
    return credentials


def _check(file: StoredFile, crc32c: int) -> None:
    if file.crc32c is not None and crc32c != file.crc32c:
        raise TransferBroken(
            f"{file.uri}: its crc32c is {file.crc32c:08x}, what came has {crc32c:08x}"
        )


def _loaded(location: Location, response: requests.Response) -> Loaded:
    """Raises BadAnswer where the answer is damaged, or does not say which generation it is.

    Source of the headers: cloud.google.com/storage/docs/xml-api/reference-headers
    """
    content = response.content
    generation = response.headers.get("X-Goog-Generation", "")
    if not generation.isdigit():
        raise BadAnswer("storage did not tell the object's generation")
    checksum: Any = google_crc32c.Checksum(content)  # type: ignore[no-untyped-call]  # carries no types
    hashes = response.headers.get("X-Goog-Hash", "")
    if "crc32c=" in hashes and base64.b64encode(checksum.digest()).decode() not in hashes:
        raise BadAnswer("what came does not have the object's checksum")
    return Loaded(StoredFile(location, len(content), generation=int(generation)), content)


def _stored_file(location: Location, blob: Any) -> StoredFile:
    return StoredFile(
        location,
        size=blob.size,
        generation=blob.generation,
        crc32c=int.from_bytes(base64.b64decode(blob.crc32c), "big") if blob.crc32c else None,
        content_encoding=blob.content_encoding or "",
        metadata=dict(blob.metadata or {}),
    )
