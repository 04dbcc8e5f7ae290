"""The records of jobs: one JSON object `<job id>.json` each, below JOBS_URI.

Every change is a write with a generation precondition, so that of two writers one fails.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from app.concurrency.deadline import Deadline
from app.concurrency.parallel import GoOn, run_all
from app.errors import Aborted, InternalError, NotFound
from app.jobs.record import JobRecord, is_job_id
from app.jobs.record_json import NoRecord, brief, decoded, encoded
from app.storage import JSON, Connections, Location, Storage, StoredFile, TransferLimits

_BRIEF_KEY = "embedded-tf-job"
_SUFFIX = ".json"
_CALL_SECONDS = 60.0
_CHANGE_ATTEMPTS = 20
_LONGEST_PAUSE_SECONDS = 0.2
_PARALLEL_LOADS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A record, and the file that holds it in this generation."""

    record: JobRecord
    file: StoredFile


class JobStore:
    """The records in one folder. Methods raise StorageFailed, PermissionDenied and the like.

    `limits` are those of each request; a call takes at most a minute.
    """

    def __init__(self, folder: Location, connections: Connections, limits: TransferLimits) -> None:
        self.folder = folder
        self._connections = connections
        self._limits = limits

    def create(self, record: JobRecord) -> Stored:
        """Write a new record. Raises Aborted if there is one with this id."""
        return self._write(record, None, _CALL_SECONDS)

    def load(self, job_id: str) -> Stored:
        """Raises NotFound."""
        location = self._location(job_id)
        loaded = self._storage(_CALL_SECONDS).load(location)
        if loaded is None:
            raise NotFound(f"there is no job {job_id}")
        try:
            return Stored(decoded(loaded.content), loaded.file)
        except NoRecord as error:
            raise InternalError(f"{location} is no record of a job: {error}") from error

    def replace(
        self, stored: Stored, record: JobRecord, *, seconds: float = _CALL_SECONDS
    ) -> Stored:
        """Replace exactly this generation. Raises Aborted if it has changed."""
        return self._write(record, stored.file, seconds)

    def change(
        self,
        job_id: str,
        change: Callable[[JobRecord], JobRecord],
        known: Stored | None = None,
    ) -> Stored:
        """Change the record, whatever others do to it meanwhile.

        `known` is what the caller has read of it, and saves reading it again. `change` may be
        called several times; nothing is written if it returns what it was given. Raises what
        `change` raises, and Aborted if others always come first.
        """
        read = [known] if known is not None else []
        retrying = Retrying(
            retry=retry_if_exception(_is_conflict),
            wait=wait_random(0, _LONGEST_PAUSE_SECONDS),
            stop=stop_after_attempt(_CHANGE_ATTEMPTS),
            reraise=True,
        )

        def attempt() -> Stored:
            stored = read.pop() if read else self.load(job_id)
            record = change(stored.record)
            return stored if record is stored.record else self.replace(stored, record)

        return retrying(attempt)

    def delete(self, stored: Stored) -> None:
        """Delete exactly this generation."""
        self._storage(_CALL_SECONDS).delete(stored.file)

    def all(self, id_prefix: str = "") -> list[JobRecord]:
        """All records, briefly: reports count their files, and of the details of an error only its
        class is there. Those whose ids begin with `id_prefix`, if one is given.

        Takes one request for 1,000 records, and one more for each that does not fit into metadata.
        """
        storage = self._storage(_CALL_SECONDS)
        records: dict[str, JobRecord] = {}
        large = []
        for file in storage.list_below(self.folder, id_prefix):
            name = file.location.path.removeprefix(self.folder.path)
            job_id = name.removesuffix(_SUFFIX)
            if job_id == name or not is_job_id(job_id):
                continue
            try:
                records[job_id] = decoded(file.metadata[_BRIEF_KEY])
            except (KeyError, NoRecord):
                large.append(job_id)

        def load(job_id: str, go_on: GoOn) -> None:
            go_on()
            try:
                records[job_id] = self.load(job_id).record
            except NotFound:
                pass  # deleted since it was listed
            except InternalError as error:
                logger.warning("%s", error)

        deadline = Deadline.after(_CALL_SECONDS)
        run_all(
            [partial(load, job_id) for job_id in large],
            workers=_PARALLEL_LOADS,
            check=deadline.remaining,
        )
        return list(records.values())

    def _write(self, record: JobRecord, replacing: StoredFile | None, seconds: float) -> Stored:
        short = brief(record)
        create = self._storage(seconds).create(
            self._location(record.job_id),
            replacing,
            # Tells a write whose answer was lost from one of somebody else.
            writer_id=uuid.uuid4().hex,
            content=JSON,
        )
        with create as writer:
            writer.write(encoded(record))
            file = writer.finish({} if short is None else {_BRIEF_KEY: short})
        return Stored(record, StoredFile(file.location, file.size, file.generation))

    def _location(self, job_id: str) -> Location:
        return self.folder.below(job_id + _SUFFIX)

    def _storage(self, seconds: float) -> Storage:
        return Storage(
            connections=self._connections,
            deadline=Deadline.after(seconds),
            limits=replace(self._limits, retry_seconds=min(self._limits.retry_seconds, seconds)),
        )


def _is_conflict(error: BaseException) -> bool:
    """Whether somebody else has written first. Subclasses of Aborted come from a change itself."""
    return type(error) is Aborted
