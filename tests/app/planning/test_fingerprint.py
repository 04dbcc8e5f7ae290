"""An output follows from the file that was read, whatever leads to it."""

import os
from pathlib import Path

from app.planning.fingerprint import file_fingerprint
from app.storage import Storage, StoredFile
from tests.fakes.tasks import location_of


def found(path: Path) -> StoredFile:
    file = Storage(local_roots=None).find(location_of(path))
    assert file is not None
    return file


def fingerprint(path: Path) -> str:
    return file_fingerprint("job", "jsonl", [found(path)], gzip=False)


def test_link_to_another_file_is_another_input(tmp_path: Path) -> None:
    """Both files have the same size and time."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.jsonl").write_text(version)
        os.utime(tmp_path / version / "a.jsonl", ns=(10**18, 10**18))
    latest = tmp_path / "latest"
    latest.symlink_to("v1")
    first = fingerprint(latest / "a.jsonl")
    assert fingerprint(latest / "a.jsonl") == first
    latest.unlink()
    latest.symlink_to("v2")
    assert fingerprint(latest / "a.jsonl") != first


def test_changed_file_is_another_input(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("1")
    first = fingerprint(file)
    os.utime(file, ns=(10**18, 10**18))
    assert fingerprint(file) != first
