"""A night on a real Ray cluster of this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.waiting import until
from tests.faults.night import RUN, Night, make_night

MODELS = 14
ray = pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The cluster ends with its fixture."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster with one node of two CPUs."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    arguments = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100_000_000}
    running = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        yield running.address
    finally:
        running.shutdown()  # type: ignore[no-untyped-call]  # has no types


@pytest.fixture
def night(tmp_path: Path) -> Night:
    models = tmp_path / "saved"
    argv = [sys.executable, "-m", "tests.fakes.many_models", str(models), str(MODELS)]
    subprocess.run(argv, stderr=subprocess.DEVNULL, check=True)
    return make_night(tmp_path / "night", models, MODELS, most_rows=100)


def states(night: Night) -> dict[str, str]:
    report = json.loads((night.folder / "reports" / RUN / "report.json").read_bytes())
    return {job["name"]: job["state"] for job in report["jobs"]}


@pytest.mark.readme("many models by one command")
def test_jobs_are_tasks_of_a_cluster(cluster: str, night: Night) -> None:
    """Also where a worker is killed in the middle."""
    argv = night.arguments(str(night.folder), "--on", f"ray={cluster}")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: bool(list((night.folder / "out").glob("*/*.jsonl"))))
        for one in psutil.process_iter(["cmdline"]):
            if "app.night.worker" in (one.info["cmdline"] or ()) and str(night.folder) in str(
                one.info["cmdline"]
            ):
                one.kill()
                break
        _, errors = process.communicate(timeout=110)
    assert process.returncode == 1, errors.decode()
    told = states(night)
    others = {name: state for name, state in told.items() if state not in ("succeeded", "reused")}
    assert others == night.expected
    assert night.wrong_outputs(lambda name: (night.folder / name).read_bytes()) == []


def test_no_cluster_is_told(night: Night) -> None:
    argv = night.arguments(str(night.folder), "--on", "ray=127.0.0.1:1")
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 1
    assert "there is no Ray cluster at 127.0.0.1:1" in ran.stderr
    other = subprocess.run(
        night.arguments(str(night.folder), "--on", "moon"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert other.returncode == 2
    assert "on must be local, queue, array or ray[=ADDRESS], it is 'moon'" in other.stderr
