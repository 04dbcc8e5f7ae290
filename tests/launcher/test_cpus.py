from pathlib import Path

import pytest

from tfserving_launcher import available_cpus


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("max 100000", 2), ("100000 100000", 1), ("150000 100000", 2), ("20000 100000", 1)],
)
def test_a_quota_of_cgroup_v2_limits_the_affinity(quota: str, cpus: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cpus(tmp_path) == cpus


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize(("quota", "cpus"), [("-1", 2), ("100000", 1), ("800000", 2)])
def test_a_quota_of_cgroup_v1_limits_the_affinity(quota: str, cpus: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == cpus


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize("limited", ["outer", "outer/inner"])
def test_a_quota_of_any_cgroup_around_the_process_counts(limited: str, tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / limited / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    assert available_cpus(tmp_path, tmp_path / "own") == 1


@pytest.mark.usefixtures("two_cpus")
def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 2
