"""Objects in Google Cloud Storage, or in an emulator that STORAGE_EMULATOR_HOST names."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import google.auth
import google_crc32c
import requests
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client

from app.concurrency.parallel import GoOn, run_all
from app.errors import PermissionDenied, StorageFailed, TransferBroken
from app.storage.backend import ContentType, Loaded, StoredFile, Wanted, Writer
from app.storage.emulator import check_emulator, emulator_url
from app.storage.gcs_answers import (
    ListedPage,
    described,
    listed_page,
    loaded_object,
    raise_for,
)
from app.storage.gcs_new_object import NewObject
from app.storage.gcs_reading import BLOCK_BYTES, ObjectReader, check
from app.storage.gcs_requests import GET, GcsRequests
from app.storage.gcs_upload import Upload
from app.storage.location import Location, common_prefix
from app.storage.request_counts import RequestCounts
from app.storage.retrying import BadAnswer, RetryPolicy
from app.storage.sessions import authorized_session

_SLICE_BYTES = 32 * 1024 * 1024
_PARALLEL_SLICES = 4
_FETCH_ATTEMPTS = 3
# As many as storage lists in one answer.
_PAGE_OBJECTS = "1000"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_LIST = "storage.objects.list"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GcsClients:
    """Google's client, which knows the API's address, and a session that pools connections."""

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
        session = authorized_session(credentials)
        client = Client(
            # A project is needed only to create or list buckets, and user credentials have none.
            project=project or "none",
            credentials=credentials,
            client_options=None if emulator is None else {"api_endpoint": emulator},
            _http=session,
        )
        return cls(client, session)


class GcsBackend:
    """Reads and writes objects with generation preconditions, and verifies their crc32c."""

    def __init__(
        self,
        clients: GcsClients,
        policy: RetryPolicy,
        upload_chunk_bytes: int,
        counts: RequestCounts,
    ) -> None:
        self._requests = GcsRequests(clients.session, clients.client.api_endpoint, policy, counts)
        self._reader = ObjectReader(self._requests)
        self._upload_chunk_bytes = upload_chunk_bytes

    def find(self, location: Location) -> StoredFile | None:
        return self._requests.find(location)

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        wanted = set(locations)
        found: dict[Location, StoredFile] = {}
        for bucket in {location.bucket for location in wanted}:
            names = [location.path for location in wanted if location.bucket == bucket]
            prefix = Location("gs", bucket, common_prefix(names))
            found.update((file.location, file) for file in self._list(prefix))
        return {location: file for location, file in found.items() if location in wanted}

    def find_beginning(self, prefix: Location) -> list[StoredFile] | None:
        page = self._page(prefix, {"prefix": prefix.path})
        return None if page.next_token else page.files

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
        pages = self._pages(folder, {"prefix": folder.path, "delimiter": "/"})
        found = {path for page in pages for path in page.folders}
        return sorted(path.removeprefix(folder.path).rstrip("/") for path in found)

    def _list(self, prefix: Location) -> list[StoredFile]:
        pages = self._pages(prefix, {"prefix": prefix.path})
        return [file for page in pages for file in page.files]

    def _pages(self, prefix: Location, params: Mapping[str, str]) -> Iterator[ListedPage]:
        page = self._page(prefix, params)
        yield page
        while page.next_token:
            page = self._page(prefix, {**params, "pageToken": page.next_token})
            yield page

    def _page(self, prefix: Location, params: Mapping[str, str]) -> ListedPage:
        def request() -> ListedPage:
            url = self._requests.objects(prefix.bucket)
            asked = {"maxResults": _PAGE_OBJECTS, **params}
            answer = self._requests.send("list", "GET", url, params=asked)
            page = listed_page(prefix, described(answer))
            if page.next_token and page.next_token == params.get("pageToken"):
                raise BadAnswer("storage's list goes on with the page that it has sent")
            return page

        return self._requests.call(prefix, _LIST, request)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        return self._reader.read(file)

    def load(self, location: Location) -> Loaded | None:
        def request() -> Loaded | None:
            response = self._requests.send(
                "read",
                "GET",
                self._requests.media(location),
                params={"alt": "media"},
                headers={"Accept-Encoding": "identity"},
            )
            if response.status_code == requests.codes.not_found:
                return None
            raise_for(response)
            return loaded_object(location, response)

        return self._requests.call(location, GET, request)

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

    def _fetch_once(self, file: StoredFile, path: Path, go_on: Callable[[], object]) -> None:
        with path.open("wb") as target:
            target.truncate(file.size)
        slices = [
            partial(self._fetch_slice, file, path, start)
            for start in range(0, file.size, _SLICE_BYTES)
        ]
        run_all(slices, workers=_PARALLEL_SLICES, check=go_on)
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # carries no types
        with path.open("rb") as copied:
            while block := copied.read(BLOCK_BYTES):
                checksum.update(block)
        check(file, int.from_bytes(checksum.digest(), "big"))

    def _fetch_slice(self, file: StoredFile, path: Path, start: int, go_on: GoOn) -> None:
        go_on()
        with path.open("r+b") as target:
            target.seek(start)
            end = min(start + _SLICE_BYTES, file.size)
            for block in self._reader.stream(file, start, end):
                target.write(block)
                go_on()

    def check_target(self, location: Location) -> None:
        """Accept any name. Only writing can tell whether it is permitted."""

    def check_source(self, location: Location) -> None:
        """Accept any object: reads go through this backend only."""

    @contextmanager
    def create(
        self,
        location: Location,
        content: ContentType,
        replacing: StoredFile | None,
        writer_id: str,
        metadata: Mapping[str, str],
    ) -> Iterator[Writer]:
        new = NewObject(
            location=location,
            content=content,
            replacing=replacing,
            writer_id=writer_id,
            metadata=dict(metadata),
        )
        upload = Upload(self._requests, new, chunk_bytes=self._upload_chunk_bytes)
        try:
            yield upload
        finally:
            upload.cancel_unless_finished()

    def delete(self, file: StoredFile) -> None:
        self._requests.delete(file)


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
