"""The list that a run is held against, written before its first job begins."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.config.job_spec import parameters_of, parse_job_spec
from app.jobs.record_json import parse_timestamp, timestamp
from app.night.planned_jobs import PlannedJob
from app.night.survey import Readiness, SurveyedJob
from app.storage import Location, parse_location

_HASH_CHARACTERS = 16
_TOKEN_BYTES = 4


def new_token() -> str:
    return secrets.token_hex(_TOKEN_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenManifest:
    """The jobs of a run, with what was there for each of them when it was frozen.

    `plan` is what they were made from. Their records are in the folder `records`. `compared_with`
    is the name of the run before, or empty. With `require_input`, a job without input is a failure.
    `token` is random: no other run has the ids of this one's jobs, whatever it is called.
    """

    run: str
    token: str
    created: datetime
    plan: Mapping[str, Any]
    records: Location
    compared_with: str = ""
    require_input: bool = False
    jobs: tuple[SurveyedJob, ...]

    def job_id(self, job: PlannedJob) -> str:
        """Follows from the manifest and the job's name, so that it is the same in each call."""
        digest = hashlib.sha256(job.name.encode()).hexdigest()[:_HASH_CHARACTERS]
        return f"{self.job_id_prefix}{digest}"

    @property
    def job_id_prefix(self) -> str:
        return f"{self.run}-{self.token}-"


def manifest_json(manifest: FrozenManifest) -> dict[str, Any]:
    return {
        "run": manifest.run,
        "token": manifest.token,
        "created": timestamp(manifest.created),
        "plan": dict(manifest.plan),
        "records": str(manifest.records),
        "compared_with": manifest.compared_with or None,
        "require_input": manifest.require_input,
        "total": len(manifest.jobs),
        "jobs": [_job_json(one) for one in manifest.jobs],
    }


def parse_manifest(body: Mapping[str, Any]) -> FrozenManifest:
    """Raises KeyError and ValueError for what is no frozen manifest."""
    return FrozenManifest(
        run=body["run"],
        token=body["token"],
        created=parse_timestamp(body["created"]),
        plan=body["plan"],
        records=parse_location(body["records"], parameter="records"),
        compared_with=body["compared_with"] or "",
        require_input=body["require_input"],
        jobs=tuple(map(_parse_job, body["jobs"])),
    )


def _job_json(one: SurveyedJob) -> dict[str, Any]:
    body = {
        "name": one.job.name,
        "parameters": parameters_of(one.job.spec),
        "readiness": one.readiness.value,
        "files": one.files,
        "bytes": one.size,
    }
    return {**body, "message": one.message} if one.message else body


def _parse_job(body: Mapping[str, Any]) -> SurveyedJob:
    return SurveyedJob(
        PlannedJob(body["name"], parse_job_spec(body["parameters"])),
        Readiness(body["readiness"]),
        files=body["files"],
        size=body["bytes"],
        message=body.get("message", ""),
    )
