"""The server's words: files of the model are named, and temporary folders are not."""

import tempfile
from pathlib import Path

import pytest

from app.serving.error_translation import without_own_paths


@pytest.mark.parametrize("name", ["tmp", "a folder", "x+y (1)", "ü", "a.b[c]", "w-1_2"])
@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("embedded-tf-job-a1_b2c3d/tfs-x1y2z3_a/m/1/assets/vocab.txt", "1/assets/vocab.txt"),
        ("embedded-tf-job-a1_b2c3d/1/assets/my vocab.txt", "1/assets/my vocab.txt"),
        ("models/energy/1/variables/variables", "models/energy/1/variables/variables"),
        ("embedded-tf-job-a1_b2c3d/tfs-x1y2z3_a/s", "s"),
    ],
)
def test_a_path_is_kept_from_the_models_folder_on(
    place: str, kept: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    for before, after in (("", "; No such file"), ("file://", ""), ('"', '": no'), ("(", ")")):
        text = without_own_paths(f"INTERNAL: {before}{tmp_path / name / place}{after}")
        assert text == f"INTERNAL: {before}.../{kept}{after}"


def test_a_temporary_folder_behind_a_link_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "link"))
    text = without_own_paths(
        f"{tmp_path}/real/tfs-abcdefgh/m/1/x and {tmp_path}/link/y in {tmp_path}/link"
    )
    assert text == ".../1/x and .../y in ..."


def test_server_folder_in_temp_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's folder in the systems temporary folder is not told."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert without_own_paths("/tmp/tfs-abcdefgh/m/1/assets/a: none") == ".../1/assets/a: none"


def test_paths_outside_of_the_temporary_folder_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    text = "/var/tmp/1/x, /tmpfiles/1/y and /data/models/1/assets/z"
    assert without_own_paths(text) == text
