"""Local folders that hold links: what is found, under which name, and what may be used."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from app.config.job_spec import parse_job_spec
from app.errors import NotFound, PermissionDenied, UnsupportedInput
from app.planning.selection import Selection, select_files
from app.savedmodel.find_model import find_model
from app.storage import Location, Storage, StoredFile, parse_location

os_scandir = os.scandir


class Ordered:
    """What os.scandir gives, in an order of one's own."""

    def __init__(self, folder: str | int, *, descending: bool) -> None:
        with os_scandir(folder) as entries:
            self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=descending))

    def __iter__(self) -> Iterator["os.DirEntry[str]"]:
        return self._entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders list what they hold in either order."""
    monkeypatch.setattr(os, "scandir", lambda folder: Ordered(folder, descending=request.param))


@pytest.fixture
def days(tmp_path: Path) -> Path:
    for day in ("2024-01-30", "2024-01-31"):
        (tmp_path / "in" / day).mkdir(parents=True)
        (tmp_path / "in" / day / "a.jsonl").write_text("[1]\n")
    (tmp_path / "in" / "latest").symlink_to("2024-01-31")
    return tmp_path


def select(folder: Path, *inputs: str) -> Selection:
    spec = parse_job_spec(
        {
            "model": "/m/",
            "input": [f"{folder}/{one}" for one in inputs],
            "output": f"{folder}/out/",
        }
    )
    return select_files(spec, Storage())


def names(folder: Path, *inputs: str) -> list[str]:
    return [one.name for one in select(folder, *inputs).files]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (["in/2024-*/*.jsonl"], ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]),
        (["in/"], ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]),
        (["in/l*/a.jsonl"], ["latest/a.jsonl"]),
        (["in/latest/"], ["a.jsonl"]),
        (["in/latest/a.jsonl"], ["a.jsonl"]),
        (["in/**/a.jsonl", "in/latest/"], ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]),
        (["in/latest/", "in/2024-01-31/"], ["a.jsonl"]),
    ],
)
def test_a_file_is_found_by_each_name_and_taken_once(
    inputs: list[str], found: list[str], days: Path
) -> None:
    assert names(days, *inputs) == found


@pytest.mark.usefixtures("order")
def test_only_loops_are_cut(days: Path) -> None:
    (days / "in" / "2024-01-30" / "up").symlink_to("..")
    (days / "in" / "self").symlink_to(".")
    (days / "in" / "round").symlink_to("round")
    (days / "in" / "other").symlink_to(days / "in" / "2024-01-30")
    assert names(days, "in/") == ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]
    assert names(days, "in/other/up/**/a.jsonl") == ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]


@pytest.mark.usefixtures("order")
def test_a_mounted_volume_is_an_input_and_a_model(tmp_path: Path) -> None:
    """As Kubernetes lays out a ConfigMap, a Secret and a projected volume."""
    real = tmp_path / "in" / "..2024_01_31"
    (real / "1" / "variables").mkdir(parents=True)
    for name in ("a.jsonl", "1/saved_model.pb", "1/variables/variables.index"):
        (real / name).write_text("[1]\n")
    (tmp_path / "in" / "..data").symlink_to(real.name)
    (tmp_path / "in" / "a.jsonl").symlink_to("..data/a.jsonl")
    (tmp_path / "in" / "1").symlink_to("..data/1")
    selection = select(tmp_path, "in/*.jsonl")
    assert [one.name for one in selection.files] == ["a.jsonl"]
    assert selection.left_out == 0
    model = find_model(parse_location(f"{tmp_path}/in/", parameter="model"), Storage())
    assert (model.version, model.folder.path) == ("1", f"{tmp_path}/in/1/")
    assert len(model.files) == 2


@pytest.mark.usefixtures("order")
def test_a_link_beside_a_version_is_no_version(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "latest").symlink_to("1")
    model = find_model(parse_location(f"{tmp_path}/", parameter="model"), Storage())
    assert model.folder.path == f"{tmp_path}/1/"


def test_a_link_that_leads_nowhere_is_named(days: Path) -> None:
    (days / "in" / "2024-01-31" / "b.jsonl").symlink_to("absent.jsonl")
    with pytest.raises(NotFound, match=r"in/2024-01-31/b.jsonl: a link that leads nowhere"):
        names(days, "in/")
    assert names(days, "in/*/a.jsonl") == ["2024-01-30/a.jsonl", "2024-01-31/a.jsonl"]


def test_folders_that_all_link_to_each_other_are_refused(tmp_path: Path) -> None:
    """There are more names than could be listed, and none is dropped in silence."""
    for one in range(9):
        (tmp_path / "in" / f"d{one}").mkdir(parents=True)
        for other in range(9):
            (tmp_path / "in" / f"d{one}" / f"to{other}").symlink_to(f"../d{other}")
    with pytest.raises(UnsupportedInput, match="links in it lead to more than 10000 folders"):
        names(tmp_path, "in/")


@pytest.mark.parametrize(
    ("inputs", "found", "left_out"),
    [
        (["in/"], ["a.jsonl", "b/c.jsonl"], 6),
        (["in/*"], ["a.jsonl"], 4),
        (["in/**"], ["a.jsonl", "b/c.jsonl"], 6),
        (["in/_SUCCESS"], ["_SUCCESS"], 0),
        (["in/_*"], ["_SUCCESS"], 0),
        (["in/.part*"], [".part-0.json.crc"], 0),
        (["in/_temporary/"], ["d.jsonl"], 0),
        (["in/", "in/_SUCCESS"], ["_SUCCESS", "a.jsonl", "b/c.jsonl"], 5),
    ],
)
def test_names_that_are_no_data_are_left_out_and_counted(
    inputs: list[str], found: list[str], left_out: int, tmp_path: Path
) -> None:
    for name in ("a.jsonl", "b/c.jsonl", ".part-0.json.crc", ".DS_Store", "b/.x/e.jsonl"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("[1]\n")
    (tmp_path / "in" / "_temporary").mkdir()
    (tmp_path / "in" / "_temporary" / "d.jsonl").write_text("[1]\n")
    for name in ("_SUCCESS", "b_$folder$"):
        (tmp_path / "in" / name).write_bytes(b"")
    selection = select(tmp_path, *inputs)
    assert [one.name for one in selection.files] == found
    assert selection.left_out == left_out


def test_nothing_but_hidden_files_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_SUCCESS").write_bytes(b"")
    with pytest.raises(NotFound, match=r"1 files whose names.* begin with _ or \. are left out"):
        names(tmp_path, "in/")


class Swapping:
    """Roots that exchange a folder for a link to another one before something in it is opened."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._folder = folder
        self._target = target
        self._open = os.open

    def __call__(
        self, path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        if str(path).startswith(str(self._folder)) and not self._folder.is_symlink():
            self._folder.rename(self._folder.with_name("moved"))
            self._folder.symlink_to(self._target)
        return self._open(path, flags, mode, dir_fd=dir_fd)


class Closed:
    """Has the folder called `closed` be one that may not be opened, for root as well."""

    def __init__(self) -> None:
        self._open = os.open

    def __call__(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return self._open(path, flags, *arguments, **options)


@pytest.mark.parametrize(
    ("folder", "pattern"), [("closed", "*.jsonl"), (".closed", ""), ("_closed", "**/*.jsonl")]
)
def test_folders_that_cannot_match_may_be_closed(
    folder: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / "a.jsonl").write_text("1")
    monkeypatch.setattr(os, "open", Closed())
    assert names(tmp_path, pattern) == ["a.jsonl"]


def test_closed_folder_that_may_match_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep" / "closed").mkdir(parents=True)
    (tmp_path / "a.jsonl").write_text("1")
    monkeypatch.setattr(os, "open", Closed())
    with pytest.raises(PermissionDenied, match="/deep/closed/: permission denied"):
        select(tmp_path, "**/*.jsonl")


def test_names_that_are_no_text_harm_only_what_wants_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("1")
    assert names(tmp_path, "*.jsonl") == ["a.jsonl"]
    with pytest.raises(UnsupportedInput, match="not UTF-8"):
        select(tmp_path, "*")


def test_folders_of_links_that_cannot_match_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    folders = [tmp_path / f"d{n}" for n in range(7)]
    for folder in folders:
        folder.mkdir()
    for one in folders:
        for other in folders:
            (one / f"to-{other.name}").symlink_to(other)
    assert names(tmp_path, "*.jsonl") == ["a.jsonl"]


@pytest.fixture
def swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """`root/folder` becomes a link to `outside` at the moment when it is opened."""
    for name in ("root/folder", "outside"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a").write_text(name)
    swapping = Swapping(tmp_path / "root" / "folder", tmp_path / "outside")
    monkeypatch.setattr(os, "open", swapping)
    yield Storage(local_roots=(tmp_path / "root",))
    assert (tmp_path / "outside" / "a").read_text() == "outside"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["a"]


def test_a_folder_exchanged_for_a_link_is_not_read(swapped: Storage, tmp_path: Path) -> None:
    file = StoredFile(Location("file", "", f"{tmp_path}/root/folder/a"), size=7)
    with pytest.raises(PermissionDenied, match="LOCAL_ROOTS"):
        list(swapped.read(file))


def test_a_folder_exchanged_for_a_link_is_not_listed(swapped: Storage, tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied, match="LOCAL_ROOTS"):
        swapped.list_below(Location("file", "", f"{tmp_path}/root/folder/"))


def test_a_folder_exchanged_for_a_link_is_not_written(swapped: Storage, tmp_path: Path) -> None:
    target = Location("file", "", f"{tmp_path}/root/folder/b")
    with pytest.raises(PermissionDenied, match="LOCAL_ROOTS"), swapped.create(target) as writer:
        writer.finish({})


def test_writes_stay_in_the_opened_folder(tmp_path: Path) -> None:
    """A folder that is moved away while a file is written to it still gets that file."""
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    storage = Storage(local_roots=(tmp_path / "root",))
    target = Location("file", "", f"{tmp_path}/root/folder/b")
    with storage.create(target) as writer:
        writer.write(b"x")
        (tmp_path / "root" / "folder").rename(tmp_path / "root" / "moved")
        (tmp_path / "root" / "folder").symlink_to(tmp_path / "outside")
        writer.finish({"note": "1"})
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "root" / "moved" / "b").read_bytes() == b"x"
