"""The files of a run, in a folder of its name below the folder of all reports."""

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from app.concurrency.deadline import Deadline
from app.errors import Aborted, FailedPrecondition, InvalidArgument, JobError, shortened
from app.jobs.store import JobStore
from app.night.frozen_manifest import FrozenManifest, manifest_json, parse_manifest
from app.storage import JSON, Connections, ContentType, Location, Storage, TransferLimits

_RUN = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,70}")
_HTML = ContentType("text/html; charset=utf-8")
_CALL_SECONDS = 120.0
_PARALLEL_SUMMARIES = 16
_MOST_SUMMARIES = 1000

logger = logging.getLogger(__name__)


def check_run_name(run: str) -> str:
    """Return the name. Raises InvalidArgument if it cannot be in the name of a job."""
    if not _RUN.fullmatch(run):
        raise InvalidArgument(
            "run must be 1 to 71 ASCII letters, digits, - and _, and begin with a letter or digit,"
            f" it is {shortened(run)!r}",
            {"parameters": ["run"]},
        )
    return run


class Reports:
    """The folder of all runs. Pages link to the log of `project`, if there is one."""

    def __init__(
        self,
        folder: Location,
        connections: Connections,
        limits: TransferLimits,
        project: str | None = None,
    ) -> None:
        self.folder = folder.as_folder()
        self.project = project
        self._connections = connections
        self._limits = limits

    def run(self, name: str) -> "RunFiles":
        """Raises InvalidArgument if no run can have this name."""
        folder = self.folder.below(f"{check_run_name(name)}/")
        return RunFiles(name, folder, self._storage())

    def store(self, records: Location) -> JobStore:
        """The records of a run's jobs."""
        return JobStore(records, self._connections, self._limits)

    def names(self) -> list[str]:
        """The names of all runs, sorted."""
        return [name for name in self._storage().list_folders(self.folder) if _RUN.fullmatch(name)]

    def summaries(self, most: int) -> list[dict[str, Any]]:
        """What each of the latest runs came to so far, the newest first.

        Of more than a thousand runs those with the last names are looked at.
        """

        def load(name: str) -> dict[str, Any] | None:
            try:
                return self.run(name).load_summary()
            except FailedPrecondition as error:
                logger.warning("%s", error)
                return None

        with ThreadPoolExecutor(_PARALLEL_SUMMARIES) as pool:
            found = list(pool.map(load, self.names()[-_MOST_SUMMARIES:]))
        there = [summary for summary in found if summary is not None]
        return sorted(there, key=lambda one: str(one["created"]), reverse=True)[:most]

    def _storage(self) -> Storage:
        return Storage(
            connections=self._connections,
            deadline=Deadline.after(_CALL_SECONDS),
            limits=self._limits,
        )


class RunFiles:
    """The files of one run. Made anew for each use: its requests have one deadline."""

    def __init__(self, run: str, folder: Location, storage: Storage) -> None:
        self.run = run
        self.folder = folder
        self._storage = storage

    @property
    def records(self) -> Location:
        """Where the records of the run's jobs are, unless a service keeps them."""
        return self.folder.below("jobs/")

    @property
    def report(self) -> Location:
        return self.folder.below("report.json")

    def freeze(self, manifest: FrozenManifest) -> FrozenManifest:
        """Write the manifest; if another call has done so before, return that one."""
        try:
            self._write(self._manifest, _encoded(manifest_json(manifest)), JSON, replacing=False)
        except Aborted:
            there = self.load_manifest()
            if there is None:
                raise
            return there
        return manifest

    def load_manifest(self) -> FrozenManifest | None:
        """None if there is no such run."""
        there = self._load(self._manifest)
        if there is None:
            return None
        try:
            return parse_manifest(there)
        except (KeyError, ValueError, TypeError, JobError) as error:
            raise FailedPrecondition(
                f"{self._manifest} is not what this version writes: {error}; give the run another"
                " name"
            ) from error

    def write_report(self, report: Mapping[str, Any], page: bytes) -> None:
        """Replace the report, its page and its summary. Of two at once, one stays."""
        for location, content, kind in (
            (self.report, _encoded(report), JSON),
            (self.folder.below("report.html"), page, _HTML),
            (self._summary, _encoded(summary_of(report)), JSON),
        ):
            try:
                self._write(location, content, kind, replacing=True)
            except Aborted:
                continue  # another call has just written what it knows

    def load_report(self) -> dict[str, Any] | None:
        return self._load(self.report, ("complete", "states", "jobs"))

    def load_summary(self) -> dict[str, Any] | None:
        return self._load(self._summary, ("run", "created", "complete"))

    @property
    def _manifest(self) -> Location:
        return self.folder.below("manifest.json")

    @property
    def _summary(self) -> Location:
        return self.folder.below("summary.json")

    def _load(self, location: Location, names: Sequence[str] = ()) -> dict[str, Any] | None:
        """Raises FailedPrecondition for a file without these fields."""
        loaded = self._storage.load(location)
        if loaded is None:
            return None
        try:
            body = orjson.loads(loaded.content)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict) or any(name not in body for name in names):
            raise FailedPrecondition(f"{location} is not what a run has written")
        return body

    def _write(
        self, location: Location, content: bytes, kind: ContentType, *, replacing: bool
    ) -> None:
        old = self._storage.find(location) if replacing else None
        with self._storage.create(location, old, uuid.uuid4().hex, kind) as writer:
            writer.write(content)
            writer.finish({})


def summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without its jobs and lists."""
    return {name: value for name, value in report.items() if not isinstance(value, list | dict)} | {
        "states": report["states"]
    }


def _encoded(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
