"""Outputs of an earlier call are reused if they are of the same fingerprint, and whole."""

import dataclasses
from pathlib import Path

import pytest

from app.config.job_spec import parse_job_spec
from app.job.file_output import FileOutput
from app.planning.reuse import reuse
from app.storage import Storage, StoredFile
from app.telemetry.report import FilesDone
from tests.fakes.tasks import local_task

ERROR = b'{"line": 2, "instance": 2, "error": {"message": "no"}}\n'


SPEC = parse_job_spec({"model": "/m", "input": "/i", "output": "/o", "on_error": "fail"})


@pytest.fixture
def storage() -> Storage:
    return Storage(local_roots=None)


def finish(storage: Storage, folder: Path, *, row_errors: int) -> None:
    output = FileOutput(local_task(storage, folder), storage, writer_id="job", signature_name="s")
    with output.begun():
        output.write(b"1.0\n", 1)
        output.write_row_errors(ERROR * row_errors, row_errors)
        output.complete(1.0)
        output.publish()


@pytest.mark.parametrize("row_errors", [0, 2])
def test_finished_output_is_reused(row_errors: int, storage: Storage, tmp_path: Path) -> None:
    finish(storage, tmp_path, row_errors=row_errors)
    done = FilesDone()
    assert reuse([local_task(storage, tmp_path)], done, storage, SPEC) == []
    (report,) = done.reports()
    assert report.state == "REUSED"
    assert (report.instances, report.predictions, report.errors) == (1 + row_errors, 1, row_errors)
    assert bool(report.errors_output) == bool(row_errors)


def test_missing_output_is_made(storage: Storage, tmp_path: Path) -> None:
    task = local_task(storage, tmp_path)
    done = FilesDone()
    assert reuse([task], done, storage, SPEC) == [task]
    assert done.reports() == ()


def test_other_fingerprint_is_made_again(storage: Storage, tmp_path: Path) -> None:
    finish(storage, tmp_path, row_errors=0)
    task = dataclasses.replace(local_task(storage, tmp_path), fingerprint="0" * 64)
    assert reuse([task], FilesDone(), storage, SPEC) == [task]


def test_output_without_its_errors_is_made_again(storage: Storage, tmp_path: Path) -> None:
    finish(storage, tmp_path, row_errors=2)
    (tmp_path / "out/a.jsonl.errors.jsonl").unlink()
    task = local_task(storage, tmp_path)
    assert reuse([task], FilesDone(), storage, SPEC) == [task]


def test_changed_output_is_made_again(storage: Storage, tmp_path: Path) -> None:
    """Somebody has written into it, so its note does not describe it any more."""
    finish(storage, tmp_path, row_errors=0)
    (tmp_path / "out/a.jsonl").write_text("1.0\n1.0\n")
    task = local_task(storage, tmp_path)
    assert reuse([task], FilesDone(), storage, SPEC) == [task]


@pytest.mark.parametrize("row_errors", [0, 2])
def test_output_without_counts_is_counted(
    row_errors: int, storage: Storage, tmp_path: Path
) -> None:
    """Storage has refused the counts of both files, after it had taken their rows."""
    finish(storage, tmp_path, row_errors=row_errors)
    task = local_task(storage, tmp_path)

    def without_counts(file: StoredFile | None) -> StoredFile | None:
        if file is None:
            return None
        kept = {name: text for name, text in file.metadata.items() if "counts" not in name}
        assert len(kept) < len(file.metadata)
        return dataclasses.replace(file, metadata=kept)

    task = dataclasses.replace(
        task,
        old_output=without_counts(task.old_output),
        old_errors=without_counts(task.old_errors),
    )
    done = FilesDone()
    assert reuse([task], done, storage, SPEC) == []
    (report,) = done.reports()
    assert (report.instances, report.predictions, report.errors) == (1 + row_errors, 1, row_errors)
    # Where rows may have been skipped, nothing tells of an errors file that is gone.
    skipping = dataclasses.replace(SPEC, on_error="skip")
    task = dataclasses.replace(task, old_errors=None)
    assert reuse([task], FilesDone(), storage, skipping) == [task]
