"""Both files of an output appear when they are finished, or not at all."""

from pathlib import Path

import pytest

from app.errors import TooManyRowErrors
from app.job.file_output import FileOutput
from app.planning.reuse import stale_errors
from app.storage import Storage
from tests.fakes.tasks import local_task

ERROR = b'{"line": 2, "instance": 2, "error": {"message": "no"}}\n'


@pytest.fixture
def storage() -> Storage:
    return Storage(local_roots=None)


def names(folder: Path) -> list[str]:
    """Those that a user sees."""
    return sorted(path.name for path in folder.glob("out/[!.]*"))


def test_nothing_appears_before_the_end(storage: Storage, tmp_path: Path) -> None:
    output = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with output.begun():
        output.write(b"1.0\n", 1)
        output.write_row_errors(ERROR, 1)
        assert names(tmp_path) == []
        output.complete(1.0)
        output.publish()
    assert names(tmp_path) == ["a.jsonl", "a.jsonl.errors.jsonl"]
    assert (tmp_path / "out/a.jsonl").read_bytes() == b"1.0\n"
    assert (tmp_path / "out/a.jsonl.errors.jsonl").read_bytes() == ERROR
    assert (output.rows, output.row_errors, output.bytes) == (1, 1, 4)


def test_unfinished_output_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    output = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with pytest.raises(RuntimeError), output.begun():
        output.write(b"1.0\n", 1)
        output.write_row_errors(ERROR, 1)
        raise RuntimeError
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("most", "is_written"), [(0.5, True), (0.4, False)])
def test_too_many_row_errors(
    most: float,
    is_written: bool,  # noqa: FBT001  # pytest passes by name
    storage: Storage,
    tmp_path: Path,
) -> None:
    """One of two rows is bad."""
    output = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with output.begun():
        output.write(b"1.0\n", 1)
        output.write_row_errors(ERROR, 1)
        if is_written:
            output.complete(most)
            output.publish()
        else:
            with pytest.raises(TooManyRowErrors, match="1 of 2 rows are bad.*line 2: no"):
                output.complete(most)
    assert bool(names(tmp_path)) == is_written


def test_second_attempt_counts_anew(storage: Storage, tmp_path: Path) -> None:
    output = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with output.begun():
        output.write(b"damaged\n", 1)
        output.write_row_errors(ERROR, 1)
    output.again()
    with output.begun():
        output.write(b"1.0\n2.0\n", 2)
        output.complete(1.0)
        output.publish()
    assert names(tmp_path) == ["a.jsonl"]
    assert (output.rows, output.row_errors) == (2, 0)


def test_errors_file_goes_without_predictions(storage: Storage, tmp_path: Path) -> None:
    """The predictions cannot appear, because a folder has taken their name."""
    output = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with output.begun():
        output.write(b"1.0\n", 1)
        output.write_row_errors(ERROR, 1)
        (tmp_path / "out/a.jsonl/deep").mkdir(parents=True)
        with pytest.raises(Exception, match=r"a\.jsonl"):
            output.complete(1.0)
            output.publish()
    assert not (tmp_path / "out/a.jsonl.errors.jsonl").exists()


def test_stale_errors_are_deleted(storage: Storage, tmp_path: Path) -> None:
    """The rows that were bad before are not any more."""
    first = FileOutput(local_task(storage, tmp_path), storage, writer_id="job", signature_name="s")
    with first.begun():
        first.write_row_errors(ERROR, 1)
        first.complete(1.0)
        first.publish()
    task = local_task(storage, tmp_path)
    assert stale_errors(task)
    second = FileOutput(task, storage, writer_id="job", signature_name="s")
    with second.begun():
        second.write(b"1.0\n2.0\n", 2)
        second.complete(1.0)
        second.publish()
    second.delete_stale_errors()
    assert names(tmp_path) == ["a.jsonl"]
