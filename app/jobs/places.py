"""Whether this instance may use the places of a job."""

from app.config.job_spec import JobSpec
from app.errors import InvalidArgument, PermissionDenied
from app.jobs.record import JobRecord
from app.planning.plan import check_locations
from app.settings import Settings
from app.storage import Location, Storage


def check_places(spec: JobSpec, storage: Storage, own_model: Location | None = None) -> None:
    """Raise PermissionDenied or InvalidArgument for a job whose places `storage` may not use.

    `own_model` may be used wherever it is.
    """
    model_storage = storage.unrestricted() if spec.model == own_model else storage
    check_locations(spec, storage, model_storage)
    warm_up = () if spec.warm_up is None else (spec.warm_up.path,)
    for location in (*spec.inputs, spec.output, *warm_up):
        if location.scheme == "file":
            storage.check_source(location)
    if spec.model.scheme == "file":
        model_storage.check_source(spec.model)


class Places:
    """What LOCAL_ROOTS and ALLOWED_URI_PREFIXES let this instance use."""

    def __init__(self, settings: Settings) -> None:
        self._own_model = settings.model
        self._storage = Storage(
            local_roots=settings.local_roots,
            allowed_uri_prefixes=settings.allowed_uri_prefixes,
            reserved=settings.own_folders(),
        )

    def check(self, record: JobRecord) -> None:
        """Raise PermissionDenied or InvalidArgument for a job of other places."""
        check_places(record.spec, self._storage, self._own_model)

    def allow(self, record: JobRecord) -> bool:
        """Whether `check` raises nothing."""
        try:
            self.check(record)
        except (PermissionDenied, InvalidArgument):
            return False
        return True
