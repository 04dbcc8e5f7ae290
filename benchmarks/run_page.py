"""How long a service takes to answer GET /runs/RUN, while the run goes on."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests

from app.jobs.record import JobRecord
from app.jobs.record_json import now
from app.night.frozen_manifest import FrozenManifest
from app.night.run_files import Reports
from app.night.run_night import Night
from app.night.survey import SurveyedJob
from app.storage import Connections, TransferLimits, parse_location
from tests.app.night.night_values import surveyed
from tests.fakes.buckets import Bucket
from tests.fakes.processes import gunicorn

_RUN = "night-2026-03-01"


def run_page(url: str, *, records: int, rounds: int) -> tuple[float, int]:
    """Seconds for the page of a run whose records must be read, a median; and its bytes.

    The storage is the emulator that STORAGE_EMULATOR_HOST names.
    """
    folder = f"{Bucket(url, 'page').uri}/"
    limits = TransferLimits()
    reports = Reports(parse_location(f"{folder}reports/", parameter="r"), Connections(None), limits)
    jobs = tuple(surveyed(f"site-{number:05}", size=1000) for number in range(records))
    manifest = FrozenManifest(
        run=_RUN,
        token="t",
        created=now(),
        plan={},
        records=parse_location(f"{folder}jobs/", parameter="JOBS_URI"),
        # The last job never ran, so the run goes on.
        jobs=jobs,
    )
    night = Night(reports.run(_RUN).freeze(manifest), reports, reports.store(manifest.records))

    def create(one: SurveyedJob) -> None:
        night.store.create(_ended(night.draft(one)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, jobs[:-1]))
    environment = {
        "STORAGE_EMULATOR_HOST": url,
        "JOBS_URI": f"{folder}jobs/",
        "REPORTS_URI": f"{folder}reports/",
        # An instance that looks for jobs would find the last one.
        "QUEUE": "projects/p/locations/l/queues/q",
        "SERVICE_URL": "http://service.test",
    }
    seconds = []
    with gunicorn(environment) as service:
        for _ in range(rounds):
            started = time.monotonic()
            page = requests.get(
                f"{service.url}/runs/{_RUN}", headers={"Accept": "text/html"}, timeout=60
            )
            page.raise_for_status()
            seconds.append(time.monotonic() - started)
    return float(np.median(seconds)), len(page.content)


def _ended(draft: JobRecord) -> JobRecord:
    seconds = {"model_download": 0.02, "server_start": 0.4, "predict": 0.1, "total": 0.6}
    report = {
        "state": "SUCCEEDED",
        "files": [{"state": "PREDICTED"}],
        "instances": 1000,
        "errors": 0,
        "seconds": seconds,
    }
    started = draft.taken("an instance", now(), 60)
    return started.renewed(now(), 60, draft.counts, 0.6).succeeded(report, now())
