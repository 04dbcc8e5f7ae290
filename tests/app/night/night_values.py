"""Manifests and outcomes for tests, with what they do not care about left out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.jobs.record import JobRecord
from app.night.frozen_manifest import FrozenManifest
from app.night.planned_jobs import PlannedJob
from app.night.reconciliation import JobOutcome, reconcile
from app.night.survey import Readiness, SurveyedJob
from app.storage import parse_location
from tests.app.jobs.test_record import NOW, record

RECORDS = parse_location("gs://bkt/r/jobs/", parameter="records")


def surveyed(name: str, readiness: Readiness = Readiness.READY, **values: Any) -> SurveyedJob:
    return SurveyedJob(PlannedJob(name, record().spec), readiness, **values)


def frozen(*jobs: SurveyedJob, **values: Any) -> FrozenManifest:
    whole = FrozenManifest(run="run", token="t", created=NOW, plan={}, records=RECORDS, jobs=jobs)
    return replace(whole, **values)


def outcomes_of(manifest: FrozenManifest, records: Sequence[JobRecord | None]) -> list[JobOutcome]:
    """The outcomes of jobs with these records, in the order of the manifest."""
    by_id = {
        manifest.job_id(one.job): replace(found, job_id=manifest.job_id(one.job))
        for one, found in zip(manifest.jobs, records, strict=True)
        if found is not None
    }
    return reconcile(manifest, by_id)
