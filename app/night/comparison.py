"""What is different from the run before."""

from collections.abc import Mapping, Sequence
from typing import Any

_DONE = ("succeeded", "reused")
_BAD = ("failed", "missing model", "cancelled", "never ran")
_SLOWER_TIMES = 1.5
_SLOWER_SECONDS = 1.0


def compared(
    jobs: Sequence[Mapping[str, Any]], previous: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Compare the jobs of two reports by name: each list holds a job's name and what differs.

    `slower` jobs took 1.5 times as long, and a second longer. Of `rows_changed` jobs the number of
    rows is more than half larger, or less than half. Times are those in which outputs were made.
    """
    before = {job["name"]: job for job in previous["jobs"]}
    after = {job["name"]: job for job in jobs}
    found: dict[str, list[dict[str, Any]]] = {
        "new": [{"name": name} for name in after if name not in before],
        "gone": [{"name": name} for name in before if name not in after],
        "newly_bad": [],
        "mended": [],
        "no_input_now": [],
        "slower": [],
        "rows_changed": [],
    }
    for name, job in after.items():
        if (old := before.get(name)) is None:
            continue
        states = {"name": name, "before": old["state"], "now": job["state"]}
        if job["state"] in _BAD and old["state"] not in _BAD:
            found["newly_bad"].append(states)
        elif old["state"] in _BAD and job["state"] in _DONE:
            found["mended"].append(states)
        elif job["state"] == "no input" and old["state"] in _DONE:
            found["no_input_now"].append(states)
        if old["state"] in _DONE and job["state"] in _DONE:
            if _is_slower(old, job):
                found["slower"].append(_change(name, "made_seconds", old, job))
            if _has_changed(old["rows"], job["rows"]):
                found["rows_changed"].append(_change(name, "rows", old, job))
    return found


def _is_slower(old: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    before, now = old["made_seconds"], job["made_seconds"]
    if not before or not now:
        return False
    return bool(now > before * _SLOWER_TIMES and now > before + _SLOWER_SECONDS)


def _has_changed(before: int, now: int) -> bool:
    return now > before * 1.5 or now < before * 0.5


def _change(name: str, key: str, old: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "before": old[key], "now": job[key]}
