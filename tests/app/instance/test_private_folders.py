"""What is new in an instance's own folders after a job, and what cannot be made good."""

from pathlib import Path

import pytest

from app.instance.ending import Instance
from app.instance.private_folders import PrivateFolders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    (folder / "there").mkdir(parents=True)
    (folder / "there" / "file").write_text("as it was")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def test_what_is_new_is_removed_and_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = PrivateFolders((folder,))
    (folder / "new").mkdir()
    (folder / "new" / "deep").mkdir()
    (folder / "there" / ".netrc").write_text("x")
    (folder / "dangling").symlink_to("/no/such/file")
    assert folders.clean() == []
    assert sorted(path.name for path in folder.rglob("*")) == ["file", "link", "there"]
    assert "a job left 3 files or folders" in caplog.text
    assert str(folder / "there" / ".netrc") in caplog.text


def test_what_was_there_must_be_as_it_was(folder: Path) -> None:
    folders = PrivateFolders((folder,))
    assert folders.clean() == []
    (folder / "there" / "file").write_text("as it is!")
    (folder / "link").unlink()
    assert folders.clean() == [
        f"{folder / 'there' / 'file'} was changed",
        f"{folder / 'link'} was removed",
    ]


@pytest.mark.parametrize("change", ["mode", "folder's mode", "other file", "link"])
def test_a_change_that_keeps_the_content_is_seen(change: str, folder: Path) -> None:
    folders = PrivateFolders((folder,))
    if change == "mode":
        (folder / "there" / "file").chmod(0o777)
    elif change == "folder's mode":
        (folder / "there").chmod(0o777)
    elif change == "other file":
        (folder / "other").write_text("as it was")
        (folder / "other").replace(folder / "there" / "file")
    else:
        (folder / "link").unlink()
        (folder / "link").symlink_to("/etc/shadow")
    (wrong,) = folders.clean()
    assert wrong.endswith("was changed")


@pytest.mark.parametrize("spared", ["private/data/out", "private/data", "private", "."])
def test_folders_whose_files_jobs_may_write_are_spared(
    spared: str, folder: Path, tmp_path: Path
) -> None:
    """Whether there from the beginning or not, and whatever lies between."""
    output = folder / "data" / "out" / "a.jsonl"
    for is_there in (False, True):
        folders = PrivateFolders((folder,), spared=(tmp_path / spared,))
        output.parent.mkdir(parents=True, exist_ok=is_there)
        output.write_text("a prediction")
        (folder / "left").write_text("x")
        assert folders.clean() == []
        assert output.read_text() == "a prediction"
        assert (folder / "left").exists() == (spared in ("private", "."))


def test_what_cannot_be_removed_ends_the_instance(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    ended: list[bool] = []
    instance = Instance(PrivateFolders((folder,)), end=lambda: ended.append(True))
    assert instance.freshen()
    (folder / "new").write_text("x")
    with monkeypatch.context() as patch:
        # Root may remove everything here.
        patch.setattr("app.instance.private_folders.remove", fails)
        assert not instance.freshen()
    assert ended == [True]
    assert f"this instance ends, for what a job has left in it: {folder / 'new'}" in caplog.text
    assert instance.freshen()


def test_without_such_folders_nothing_is_touched(folder: Path) -> None:
    (folder / "new").write_text("x")
    assert PrivateFolders().clean() == []
    assert PrivateFolders((folder / "not there",)).clean() == []
    assert (folder / "new").exists()
