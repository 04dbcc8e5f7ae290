"""Which backend a location belongs to, and whether it may be used."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from app.storage.backend import Backend, StoredFile, Writer
from app.storage.local import LocalBackend
from app.storage.location import Location


class Storage:
    """All kinds of storage as one. `local_roots` are the folders below which local files may be
    used; None allows any.
    """

    def __init__(self, *, local_roots: tuple[Path, ...] | None, project: str | None = None) -> None:
        self._project = project
        self._local = LocalBackend(local_roots)
        self._gcs: Backend | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Makes the first use of gs:// as quick as the others."""
        self._gcs_backend()

    def find(self, location: Location) -> StoredFile | None:
        return self._backend(location).find(location)

    def list_below(self, folder: Location) -> list[StoredFile]:
        return self._backend(folder).list_below(folder)

    def read(self, file: StoredFile) -> Iterator[bytes]:
        return self._backend(file.location).read(file)

    def fetch(self, file: StoredFile, path: Path, check: Callable[[], object]) -> None:
        self._backend(file.location).fetch(file, path, check)

    def check_target(self, location: Location) -> None:
        self._backend(location).check_target(location)

    def create(self, location: Location) -> AbstractContextManager[Writer]:
        return self._backend(location).create(location)

    def _backend(self, location: Location) -> Backend:
        return self._local if location.scheme == "file" else self._gcs_backend()

    def _gcs_backend(self) -> Backend:
        with self._lock:
            if self._gcs is None:
                # Google's client takes a quarter of a second to import, which the start of the
                # service must not wait for and a job on local files never needs.
                from app.storage.gcs import GcsBackend  # noqa: PLC0415

                self._gcs = GcsBackend(self._project)
            return self._gcs
