"""Which backend a location belongs to, and whether it may be used."""

import os
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from app.concurrency.deadline import Deadline
from app.errors import PermissionDenied
from app.storage.backend import (
    TEXT,
    Backend,
    ContentType,
    Loaded,
    StoredFile,
    TransferLimits,
    Wanted,
    Writer,
)
from app.storage.local import LocalBackend
from app.storage.location import Location
from app.storage.request_counts import RequestCounts

_CLEAN_UP_SECONDS = 1.0


class Connections:
    """Clients and connections, which are expensive to create and shared by all jobs."""

    def __init__(self, project: str | None) -> None:
        self._project = project
        self._clients: object = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Create the gs:// client ahead of its first use."""
        self.gcs(Deadline.never(), TransferLimits())

    def gcs(
        self, deadline: Deadline, limits: TransferLimits, counts: RequestCounts | None = None
    ) -> Backend:
        # Importing Google's client takes 0.25 s. Jobs on local files do not need it.
        from app.storage.gcs import GcsBackend, GcsClients  # noqa: PLC0415
        from app.storage.retrying import RetryPolicy  # noqa: PLC0415

        with self._lock:
            if self._clients is None:
                self._clients = GcsClients.connect(self._project)
            assert isinstance(self._clients, GcsClients)
        policy = RetryPolicy(deadline, limits.retry_seconds, limits.silence_seconds)
        counts = counts or RequestCounts()
        return GcsBackend(self._clients, policy, limits.upload_chunk_bytes, counts)


class Storage:
    """The storage of one job: calls the backend of each location, within the job's deadline.

    `local_roots` are the folders below which local files may be used; `allowed_uri_prefixes` those
    below which all locations are. None allows any. Nothing at or below the `reserved` folders may
    be used: the service keeps its own files there.
    """

    def __init__(
        self,
        *,
        connections: Connections | None = None,
        deadline: Deadline | None = None,
        limits: TransferLimits | None = None,
        local_roots: tuple[Path, ...] | None = None,
        local: LocalBackend | None = None,
        allowed_uri_prefixes: tuple[Location, ...] | None = None,
        reserved: tuple[Location, ...] = (),
        counts: RequestCounts | None = None,
    ) -> None:
        self._connections = connections or Connections(None)
        self._deadline = deadline or Deadline.never()
        self._limits = limits or TransferLimits()
        self._local = local or LocalBackend(local_roots, self._deadline.remaining)
        self._allowed = allowed_uri_prefixes
        self._reserved = reserved
        self._counts = counts or RequestCounts()
        self._gcs: Backend | None = None

    def for_cleaning_up(self) -> "Storage":
        """A copy for cleaning up after the deadline: one second, no retries."""
        return Storage(
            connections=self._connections,
            deadline=Deadline.after(_CLEAN_UP_SECONDS),
            limits=TransferLimits(retry_seconds=0.0, silence_seconds=_CLEAN_UP_SECONDS),
            local=self._local,
            allowed_uri_prefixes=self._allowed,
            reserved=self._reserved,
            counts=self._counts,
        )

    def unrestricted(self) -> "Storage":
        """A copy for what the instance's settings name: any folder may be read."""
        return Storage(
            connections=self._connections,
            deadline=self._deadline,
            limits=self._limits,
            reserved=self._reserved,
            counts=self._counts,
        )

    def requests(self) -> dict[str, int]:
        """The number of requests so far by kind; local files take none."""
        return self._counts.by_kind()

    def check_allowed(self, location: Location) -> None:
        """Raise PermissionDenied for locations outside ALLOWED_URI_PREFIXES, and reserved ones."""
        if any(_is_at_or_below(location, folder) for folder in self._reserved):
            raise PermissionDenied(
                f"{location}: belongs to the service's own files, JOBS_URI and REPORTS_URI"
            )
        if self._allowed is None or any(_is_below(location, prefix) for prefix in self._allowed):
            return
        raise PermissionDenied(f"{location}: not below any of this instance's ALLOWED_URI_PREFIXES")

    def find(self, location: Location) -> StoredFile | None:
        return self._backend(location).find(location)

    def find_all(self, locations: Iterable[Location]) -> dict[Location, StoredFile]:
        """All locations are of the same kind of storage."""
        wanted = list(locations)
        for location in wanted:
            self.check_allowed(location)
        return self._backend(wanted[0]).find_all(wanted) if wanted else {}

    def list_below(
        self, folder: Location, name_prefix: str = "", wanted: Wanted | None = None
    ) -> list[StoredFile]:
        files = self._backend(folder).list_below(folder, name_prefix, wanted)
        inner = [one for one in self._reserved if _may_hold(folder, one)]
        return [
            file for file in files if not any(_is_at_or_below(file.location, one) for one in inner)
        ]

    def find_beginning(self, prefix: Location) -> list[StoredFile] | None:
        # What merely begins like a reserved folder is not in it.
        return self._backend(prefix.parent()).find_beginning(prefix)

    def list_folders(self, folder: Location) -> list[str]:
        return self._backend(folder).list_folders(folder)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        return self._backend(file.location).read(file)

    def load(self, location: Location) -> Loaded | None:
        return self._backend(location).load(location)

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        self._backend(file.location).fetch(file, path, check)

    def check_target(self, location: Location) -> None:
        self._backend(location).check_target(location)

    def check_source(self, location: Location) -> None:
        self._backend(location).check_source(location)

    def create(
        self,
        location: Location,
        replacing: StoredFile | None = None,
        writer_id: str = "",
        content: ContentType = TEXT,
        metadata: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Writer]:
        backend = self._backend(location)
        return backend.create(location, content, replacing, writer_id, metadata or {})

    def delete(self, file: StoredFile) -> None:
        self._backend(file.location).delete(file)

    def _backend(self, location: Location) -> Backend:
        self.check_allowed(location)
        if location.scheme == "file":
            return self._local
        if self._gcs is None:
            self._gcs = self._connections.gcs(self._deadline, self._limits, self._counts)
        return self._gcs


def _is_below(location: Location, prefix: Location) -> bool:
    """Whether a location is below `prefix`, by whole names, also after resolving dots and links."""
    return all(_paths_in(location, prefix))


def _may_hold(folder: Location, inner: Location) -> bool:
    """Whether `inner` may be somewhere below `folder`, links included."""
    return folder.scheme == "file" or inner.is_below(folder)


def _is_at_or_below(location: Location, folder: Location) -> bool:
    """Whether any way to read the location's name leads into `folder`."""
    return any(_paths_in(location, folder))


def _paths_in(location: Location, prefix: Location) -> Iterator[bool]:
    """For each way to read the location's name: whether it is at or below `prefix`."""
    if (location.scheme, location.bucket) != (prefix.scheme, prefix.bucket):
        yield False
        return
    # In an object's name, "//" is not "/": it is another name.
    paths = [location.path, posixpath.normpath(location.path or "/")]
    folders = [prefix.as_folder().path]
    if location.scheme == "file":
        paths.append(os.path.realpath(location.path))
        folders.append(os.path.realpath(prefix.path).rstrip("/") + "/")
    for path in paths:
        whole = path.rstrip("/") + "/"
        yield any(whole.startswith(folder) for folder in folders)
