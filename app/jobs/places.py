"""Whether this instance may use the places of a job."""

from app.config.job_spec import JobSpec
from app.errors import InvalidArgument, PermissionDenied
from app.jobs.record import JobRecord
from app.planning.plan import check_locations
from app.settings import Settings
from app.storage import Storage


def check_places(spec: JobSpec, storage: Storage) -> None:
    """Raise PermissionDenied or InvalidArgument for a job whose places `storage` may not use."""
    check_locations(spec, storage)
    for location in (spec.model, *spec.inputs, spec.output):
        if location.scheme == "file":
            storage.check_source(location)


class Places:
    """What LOCAL_ROOTS and ALLOWED_URI_PREFIXES let this instance use."""

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage(
            local_roots=settings.local_roots,
            allowed_uri_prefixes=settings.allowed_uri_prefixes,
            reserved=settings.own_folders(),
        )

    def check(self, record: JobRecord) -> None:
        """Raise PermissionDenied or InvalidArgument for a job of other places."""
        check_places(record.spec, self._storage)

    def allow(self, record: JobRecord) -> bool:
        """Whether `check` raises nothing."""
        try:
            self.check(record)
        except (PermissionDenied, InvalidArgument):
            return False
        return True
