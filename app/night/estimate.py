"""What a run will take and cost, from the run before and a table of prices."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from app.errors import InvalidArgument
from app.night.survey import SurveyedJob

_A_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """What an instance costs: a second of a vCPU and of a GiB, and a million requests."""

    currency: str
    source: str
    vcpu_second: float
    gib_second: float
    million_requests: float
    vcpus: float
    gib: float

    @property
    def second(self) -> float:
        """Of one instance."""
        return self.vcpus * self.vcpu_second + self.gib * self.gib_second


@dataclass(frozen=True, slots=True)
class Estimate:
    """For the jobs that are ready. `known_jobs` are those that have run before.

    `job_seconds` are those of all jobs together, `wall_seconds` with `parallel` jobs at a time. All
    are None if no job has run before.
    """

    jobs: int
    input_bytes: int
    known_jobs: int
    parallel: int
    job_seconds: float | None
    wall_seconds: float | None
    cost: float | None
    currency: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def load_prices(path: str | None) -> Prices:
    """The table in a JSON file, or the one that comes with this program.

    Raises InvalidArgument.
    """
    try:
        text = (
            (files("app.night") / "prices.json").read_bytes()
            if path is None
            else Path(path).read_bytes()
        )
        return msgspec.json.decode(text, type=Prices)
    except (OSError, msgspec.MsgspecError) as error:
        names = ", ".join(one.name for one in fields(Prices))
        raise InvalidArgument(
            f"prices must be a JSON file with {names}: {path}: {error}", {"parameters": ["prices"]}
        ) from None


def estimate(
    ready: Sequence[SurveyedJob],
    before: Mapping[str, Any] | None,
    prices: Prices,
    parallel: int,
) -> Estimate:
    """`before` is the report of an earlier run. A job that was not in it takes the median."""
    known = {
        job["name"]: float(job["made_seconds"])
        for job in (before or {}).get("jobs", ())
        if job.get("made_seconds")
    }
    times = [known[one.job.name] for one in ready if one.job.name in known]
    job_seconds = wall = cost = None
    if known:
        median = statistics.median(known.values())
        each = [known.get(one.job.name, median) for one in ready]
        job_seconds = sum(each)
        wall = max(job_seconds / parallel, max(each, default=0.0))
        cost = job_seconds * prices.second + len(ready) * prices.million_requests / _A_MILLION
    return Estimate(
        jobs=len(ready),
        input_bytes=sum(one.size for one in ready),
        known_jobs=len(times),
        parallel=parallel,
        job_seconds=job_seconds,
        wall_seconds=wall,
        cost=cost,
        currency=prices.currency,
    )
