"""What ends a local engine early."""

from pathlib import Path

import pytest

from app.errors import StorageFailed
from app.jobs.record import JobRecord
from app.night import local_engine
from app.night.local_engine import LocalEngine
from app.storage import parse_location


def test_storage_that_fails_for_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of an array must not take it for the end of the run."""
    monkeypatch.setattr(local_engine, "_REFILL_PAUSE_SECONDS", 0.01)
    looks = 0

    def more() -> list[tuple[JobRecord, float]]:
        nonlocal looks
        looks += 1
        raise StorageFailed("no answer")

    records = parse_location(str(tmp_path), parameter="records").as_folder()
    engine = LocalEngine(records, 1, job_seconds=1, refill=more)
    with engine.running([], begun=lambda _: None, changed=lambda _: None) as threads:
        for thread in threads:
            thread.join()
    assert looks == 5
    assert [error.message for error in engine.errors] == ["no answer"]
