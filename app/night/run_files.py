"""The files of a run below its reports' folder: the frozen manifest, and the report."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.concurrency.deadline import Deadline
from app.config.job_spec import parameters_of, parse_job_spec
from app.errors import Aborted, FailedPrecondition, InvalidArgument, shortened
from app.jobs.record_json import parse_timestamp, timestamp
from app.night.planned_jobs import PlannedJob
from app.storage import JSON, Connections, Location, Storage, TransferLimits

_RUN = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,70}")
_HASH_CHARACTERS = 16
_CALL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class FrozenManifest:
    """The jobs of a run, written before the first of them begins."""

    run: str
    created: datetime
    jobs: tuple[PlannedJob, ...]

    def job_id(self, job: PlannedJob) -> str:
        """Follows from the run and the job's name, so that it is the same in each call."""
        digest = hashlib.sha256(job.name.encode()).hexdigest()[:_HASH_CHARACTERS]
        return f"{self.run}-{digest}"


def check_run_name(run: str) -> str:
    """Return the name. Raises InvalidArgument if it cannot be in the name of a job."""
    if not _RUN.fullmatch(run):
        raise InvalidArgument(
            "run must be 1 to 71 ASCII letters, digits, - and _, and begin with a letter or digit,"
            f" it is {shortened(run)!r}",
            {"parameters": ["run"]},
        )
    return run


class RunFiles:
    """The folder of one run. Writes replace what was read before, and nothing else."""

    def __init__(
        self, reports: Location, run: str, connections: Connections, limits: TransferLimits
    ) -> None:
        self.folder = reports.as_folder().below(f"{run}/")
        self._connections = connections
        self._limits = limits

    @property
    def records(self) -> Location:
        """Where the records of the run's jobs are, unless a service keeps them."""
        return self.folder.below("jobs/")

    def freeze(self, manifest: FrozenManifest) -> FrozenManifest:
        """Write the manifest; if another call has done so before, return that one."""
        location = self.folder.below("manifest.json")
        if there := self._load(location):
            return _parse(there)
        try:
            self._write(location, _as_json(manifest), replacing=False)
        except Aborted:
            there = self._load(location)
            if there is None:
                raise
            return _parse(there)
        return manifest

    def load_manifest(self) -> FrozenManifest | None:
        """None if there is no such run."""
        there = self._load(self.folder.below("manifest.json"))
        return None if there is None else _parse(there)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Replace the report. Of two calls that report at once the later one wins."""
        location = self.folder.below("report.json")
        for last_attempt in (False, False, True):
            try:
                self._write(location, report, replacing=True)
                return
            except Aborted:
                if last_attempt:
                    raise

    def load_report(self) -> dict[str, Any] | None:
        return self._load(self.folder.below("report.json"))

    def _load(self, location: Location) -> dict[str, Any] | None:
        loaded = self._storage().load(location)
        if loaded is None:
            return None
        try:
            body = orjson.loads(loaded.content)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise FailedPrecondition(f"{location} is not what a run has written")
        return body

    def _write(self, location: Location, body: Mapping[str, Any], *, replacing: bool) -> None:
        storage = self._storage()
        old = storage.find(location) if replacing else None
        with storage.create(location, old, uuid.uuid4().hex, JSON) as writer:
            writer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            writer.finish({})

    def _storage(self) -> Storage:
        deadline = Deadline.after(_CALL_SECONDS)
        return Storage(connections=self._connections, deadline=deadline, limits=self._limits)


def _as_json(manifest: FrozenManifest) -> dict[str, Any]:
    return {
        "run": manifest.run,
        "created": timestamp(manifest.created),
        "total": len(manifest.jobs),
        "jobs": [{"name": job.name, **parameters_of(job.spec)} for job in manifest.jobs],
    }


def _parse(body: Mapping[str, Any]) -> FrozenManifest:
    jobs = []
    for given in body["jobs"]:
        parameters = dict(given)
        name = parameters.pop("name")
        jobs.append(PlannedJob(name, parse_job_spec(parameters)))
    return FrozenManifest(body["run"], parse_timestamp(body["created"]), tuple(jobs))
