from pathlib import Path

from tfserving_launcher._errors import ServerExited
from tfserving_launcher._memory import (
    Memory,
    OutOfMemoryKills,
    memory_left,
    out_of_memory_kills,
)

MEBIBYTE = 1024 * 1024


def version_2(folder: Path, limit: str, current: int, dropped: int, kills: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.peak").write_text(f"{current + 1}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {dropped}\n")
    (folder / "memory.events").write_text(f"low 0\noom 5\noom_kill {kills}\n")


def test_tightest_cgroup2_counts(tmp_path: Path) -> None:
    """Of version 2 the tightest group counts without what can be dropped."""
    version_2(tmp_path, "1000", 500, 0, 0)
    version_2(tmp_path / "a", "max", 10, 0, 0)
    version_2(tmp_path / "a" / "b", "800", 700, 100, 3)
    (tmp_path / "own").write_text("0::/a/b\n")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 90 kB\n")
    left = memory_left(tmp_path, tmp_path / "own", tmp_path / "meminfo")
    assert left == Memory(limit=800, left=200)
    assert out_of_memory_kills(tmp_path, tmp_path / "own") == OutOfMemoryKills(3, 701, 800)


def test_of_version_1_the_group_of_the_controller_counts(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("5000\n")
    (folder / "memory.usage_in_bytes").write_text("3000\n")
    (folder / "memory.max_usage_in_bytes").write_text("4000\n")
    (folder / "memory.stat").write_text("total_inactive_file 500\n")
    (folder / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    absent = tmp_path / "absent"
    assert memory_left(tmp_path, absent, absent) == Memory(limit=5000, left=2500)
    assert out_of_memory_kills(tmp_path, absent) == OutOfMemoryKills(2, 4000, 5000)
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_left(tmp_path, absent, absent) is None


def test_without_cgroup_machine_counts(tmp_path: Path) -> None:
    """Without a group the machine counts and kills are unknown."""
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable: 90 kB\n")
    absent = tmp_path / "absent"
    assert memory_left(tmp_path, absent, tmp_path / "meminfo") == Memory(102_400, 92_160)
    assert out_of_memory_kills(tmp_path, absent) is None


def test_this_machine_has_memory_left() -> None:
    left = memory_left()
    assert left is not None
    assert 0 < left.left <= left.limit


def test_out_of_memory_end_tells_peak() -> None:
    """An end for memory is told with how much was in use."""
    kills = OutOfMemoryKills(1, 500 * MEBIBYTE, 512 * MEBIBYTE)
    error = ServerExited(-9, "loading\n", when="while it was serving", out_of_memory=kills)
    assert str(error) == (
        "the model server was killed by SIGKILL while it was serving: the kernel killed it because"
        " memory ran out; 500 MiB were in use of 512 MiB; its last line: loading"
    )
