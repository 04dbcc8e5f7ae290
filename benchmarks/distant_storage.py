"""Storage at a distance: 50 ms a request, 30 MB/s a connection.

Beside each job runs the floor: the same bytes copied by Google's own client, one object after the
other, as a script with `gcloud storage cp` in a loop does.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from benchmarks.against import service_of
from benchmarks.cases import CASES
from benchmarks.contestants import ServiceRun, call
from tests.fakes.buckets import Bucket
from tests.fakes.distant_network import Distance, address, distant_network, listening
from tests.fakes.processes import RunningService, fake_gcs_server

DISTANCE = Distance(round_trip_ms=50, megabytes_per_second=30)
_FILES = 500
_QUICK_FILES = 50
_MEGABYTES = 1000
_QUICK_MEGABYTES = 100


@dataclass(frozen=True, slots=True)
class DistantCase:
    """`seconds` are medians: of this checkout, of another one if there is one, and of the floor.

    `server_start` is part of the seconds of this checkout. `requests` are those of storage by kind.
    """

    name: str
    seconds: float
    server_start: float
    other: float | None
    floor: float
    peak_megabytes: float
    requests: dict[str, int]


def distant_cases(
    models: Path, other: Path | None, *, rounds: int, quick: bool
) -> Iterator[DistantCase]:
    """Jobs of this checkout, of the `other` one and the floor, by turns."""
    files = _QUICK_FILES if quick else _FILES
    megabytes = _QUICK_MEGABYTES if quick else _MEGABYTES
    with ExitStack() as stack:
        listener = stack.enter_context(listening())
        near = stack.enter_context(fake_gcs_server(external_url=address(listener)))
        stack.enter_context(distant_network(listener, near, DISTANCE))
        bucket = Bucket(near, "bench")
        bucket.put_folder("models/network", models / "network")
        lines = CASES[0].data(200)
        bucket.put("one.jsonl", lines.partition(b"\n")[0])
        for number in range(files):
            bucket.put(f"small/{number:04}.jsonl", lines)
        wide = CASES[0].data(10_000)
        bucket.put("large.jsonl", wide * (megabytes * 1_000_000 // len(wide)))
        here = Path(__file__).parents[1]
        trees = [here] if other is None else [here, other]
        far = address(listener)
        services = [stack.enter_context(service_of(tree, far)) for tree in trees]
        stack.enter_context(_storage_host(far))
        for name, source in (
            ("one row", "one.jsonl"),
            (f"{files} files of 200 rows", "small/"),
            (f"{megabytes} MB in one file", "large.jsonl"),
        ):
            yield _measured(name, source, services, far, rounds=rounds)


def _measured(
    name: str, source: str, services: list[RunningService], url: str, *, rounds: int
) -> DistantCase:
    for service in services:
        call(service, "network", "one.jsonl")  # connections are open, as in an instance that lives
    runs: list[list[ServiceRun]] = [[] for _ in services]
    floors = []
    for turn in range(rounds):
        for place in range(len(services)) if turn % 2 else reversed(range(len(services))):
            runs[place].append(call(services[place], "network", source))
        floors.append(_copied(url, source))
    ours = runs[0]
    return DistantCase(
        name=name,
        seconds=float(np.median([run.seconds for run in ours])),
        server_start=float(np.median([run.phases["server_start"] for run in ours])),
        other=float(np.median([run.seconds for run in runs[1]])) if len(runs) > 1 else None,
        floor=float(np.median(floors)),
        peak_megabytes=max(run.peak_bytes for run in ours) / 1e6,
        requests=ours[-1].storage_requests,
    )


def _copied(url: str, source: str) -> float:
    """Seconds of downloading each object of the input, and of uploading a tenth of it, by turns."""
    client = Client(
        project="bench",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # carries no types
        client_options={"api_endpoint": url},
    )
    bucket = client.bucket("bench")
    started = time.monotonic()
    for blob in client.list_blobs("bench", prefix=source):
        content = blob.download_as_bytes()
        bucket.blob(f"copied/{blob.name}").upload_from_string(content[: len(content) // 10])
    return time.monotonic() - started


@contextmanager
def _storage_host(url: str) -> Iterator[None]:
    before = os.environ["STORAGE_EMULATOR_HOST"]
    os.environ["STORAGE_EMULATOR_HOST"] = url
    try:
        yield
    finally:
        os.environ["STORAGE_EMULATOR_HOST"] = before
