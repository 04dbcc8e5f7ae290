"""The folder of a job, and what is swept of dead jobs."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app.errors import ServerFailed
from app.instance.workspace import job_folder, sweep

_TAKES_A_FOLDER = """
import sys
from app.instance.workspace import job_folder
with job_folder() as folder:
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("w")
    print(folder, flush=True)
    sys.stdin.read()
"""


def start() -> "tuple[subprocess.Popen[bytes], Path]":
    """A process that holds a job's folder until its input ends."""
    argv = [sys.executable, "-c", _TAKES_A_FOLDER]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().decode().strip())


def test_folder_is_private_and_goes(temporary_folder: Path) -> None:
    with job_folder() as folder:
        assert folder.parent == temporary_folder
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep" / "er").mkdir(parents=True)
    assert not folder.exists()


def test_living_jobs_folder_stays_dead_ones_goes() -> None:
    process, folder = start()
    with process:
        sweep()
        assert (folder / "model" / "weights").exists()
        process.kill()
        process.wait()
        sweep()
        assert not folder.exists()


def test_a_job_that_ends_well_leaves_nothing() -> None:
    process, folder = start()
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        assert not folder.exists()


def test_folders_of_others_stay(temporary_folder: Path) -> None:
    """One has another name, and one has our name but no lock file."""
    others = [temporary_folder / name for name in ("embedded-tf-job-", "embedded-tf-jobs-abcdefgh")]
    for folder in others:
        folder.mkdir()
    try:
        sweep()
        assert all(folder.exists() for folder in others)
    finally:
        for folder in others:
            folder.rmdir()


def test_without_a_place_for_folders_the_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not look for one for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(ServerFailed, match="no temporary folder can be made"), job_folder():
        pass
