"""Local files and objects behind the same protocol; objects in a real fake-gcs-server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import Aborted, InvalidArgument, NotFound, PermissionDenied, StorageFailed
from app.storage import Location, Storage, StoredFile, parse_location
from app.storage.local_notes import note_of, read_note, write_note
from tests.fakes.buckets import Bucket

Place = Callable[[str], Location]


@pytest.fixture
def storage(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    return Storage(local_roots=None)


@pytest.fixture(params=["gs", "file"])
def place(request: pytest.FixtureRequest, bucket: Bucket, tmp_path: Path) -> Place:
    """Where a name is, in each kind of storage."""
    if request.param == "gs":
        return lambda name: parse_location(f"{bucket.uri}{tmp_path}/{name}", parameter="p")
    return lambda name: parse_location(f"{tmp_path}/{name}", parameter="p")


def write(
    storage: Storage,
    location: Location,
    *parts: bytes,
    replacing: StoredFile | None = None,
    writer_id: str = "w1",
) -> None:
    with storage.create(location, replacing, writer_id) as writer:
        for part in parts:
            writer.write(part)
        writer.finish({"note": "é"})


def read(storage: Storage, location: Location) -> bytes:
    file = storage.find(location)
    assert file is not None
    return b"".join(storage.read(file))


@pytest.mark.parametrize("parts", [[], [b"small"], [b"x" * 5_000_000] * 5])
def test_what_is_written_is_read_back(parts: list[bytes], storage: Storage, place: Place) -> None:
    write(storage, place("a/b.txt"), *parts)
    assert read(storage, place("a/b.txt")) == b"".join(parts)
    file = storage.find(place("a/b.txt"))
    assert file is not None
    assert file.metadata["note"] == "é"


@pytest.mark.parametrize("size", [1, 9_000_000])
def test_a_file_replaces_only_the_one_that_was_seen(
    size: int, storage: Storage, place: Place
) -> None:
    write(storage, place("a"), b"first")
    first = storage.find(place("a"))
    assert first is not None
    with pytest.raises(Aborted, match="somebody else has written it"):
        write(storage, place("a"), b"x" * size, writer_id="w2")
    assert read(storage, place("a")) == b"first"
    write(storage, place("a"), b"x" * size, replacing=first, writer_id="w2")
    assert read(storage, place("a")) == b"x" * size
    with pytest.raises(Aborted):
        write(storage, place("a"), b"third", replacing=first, writer_id="w3")
    assert read(storage, place("a")) == b"x" * size


def test_only_the_very_file_is_deleted(storage: Storage, tmp_path: Path) -> None:
    target = parse_location(str(tmp_path / "a"), parameter="p")
    write(storage, target, b"first")
    first = storage.find(target)
    assert first is not None
    write(storage, target, b"second", replacing=first)
    storage.delete(first)
    assert read(storage, target) == b"second"
    second = storage.find(target)
    assert second is not None
    storage.delete(second)
    assert list(tmp_path.iterdir()) == []


def test_files_are_found_in_one_go(storage: Storage, place: Place) -> None:
    for name in ("in/abc", "in/abd", "in/b"):
        write(storage, place(name), b"x")
    wanted = [place("in/abc"), place("in/b"), place("in/absent")]
    assert set(storage.find_all(wanted)) == set(wanted[:2])
    assert storage.find_all([]) == {}


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_writer_that_fails_leaves_nothing(size: int, storage: Storage, place: Place) -> None:
    with pytest.raises(ZeroDivisionError), storage.create(place("new/deep/b.txt")) as writer:
        for _ in range(4):
            writer.write(b"x" * size)
        raise ZeroDivisionError
    assert storage.list_below(place("")) == []
    assert storage.find(place("new/deep/b.txt")) is None


def test_failed_local_writer_removes_its_folders(storage: Storage, tmp_path: Path) -> None:
    """A local writer that fails takes its folders with it."""
    (tmp_path / "old").mkdir()
    target = Location("file", "", str(tmp_path / "old" / "new" / "deep" / "b.txt"))
    with pytest.raises(ZeroDivisionError), storage.create(target):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_files_below_a_folder_are_listed_by_name(storage: Storage, place: Place) -> None:
    for name in ("in/b", "in/a/z", "in/a.x", "in-other/c", "in/c/d/e"):
        write(storage, place(name), b"12345")
    files = storage.list_below(place("in/"))
    assert [file.location for file in files] == [
        place(name) for name in ("in/a.x", "in/a/z", "in/b", "in/c/d/e")
    ]
    assert {file.size for file in files} == {5}


def test_what_is_not_there_is_not_found(storage: Storage, place: Place) -> None:
    assert storage.find(place("absent")) is None
    assert storage.list_below(place("absent/")) == []
    gone = StoredFile(place("absent"), size=3, generation=1)
    with pytest.raises(NotFound, match="absent"):
        list(storage.read(gone))


def test_a_folder_is_no_file(storage: Storage, place: Place) -> None:
    write(storage, place("folder/x"), b"")
    assert storage.find(place("folder")) is None


def test_fetch_copies_to_a_local_file(storage: Storage, place: Place, tmp_path: Path) -> None:
    write(storage, place("source"), b"data")
    file = storage.find(place("source"))
    assert file is not None
    storage.fetch(file, tmp_path / "copy", lambda: None)
    assert (tmp_path / "copy").read_bytes() == b"data"


def test_wrong_checksum_is_an_error(storage: Storage, bucket: Bucket) -> None:
    """Content that does not match its checksum is an error."""
    bucket.put("checksum", b"data")
    file = storage.find(Location("gs", "test-bucket", "checksum"))
    assert file is not None
    assert file.crc32c is not None
    wrong = StoredFile(file.location, file.size, file.generation, file.crc32c ^ 1)
    with pytest.raises(StorageFailed, match="crc32c"):
        list(storage.read(wrong))


def test_replaced_object_is_not_read(storage: Storage, bucket: Bucket) -> None:
    """An object replaced since it was listed is not read."""
    bucket.put("replaced", b"old")
    file = storage.find(Location("gs", "test-bucket", "replaced"))
    assert file is not None
    bucket.put("replaced", b"new")
    with pytest.raises(Aborted, match="gs://test-bucket/replaced: replaced since"):
        list(storage.read(file))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "http://127.0.0.1:9/", "no-such-host.invalid:1"]
)
def test_an_emulator_that_is_not_there_is_told_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable's name and what happened; two minutes of retries would not help."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it was tried again"))
    with pytest.raises(StorageFailed, match="STORAGE_EMULATOR_HOST is http://") as raised:
        Storage(local_roots=None).find(Location("gs", "bucket", "name"))
    assert "and nothing answers there: " in str(raised.value)


@pytest.mark.parametrize("form", ["{host}", "{host}/", "http://{host}/"])
def test_an_emulators_address_has_several_forms(
    form: str, gcs_url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("forms", b"data")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", form.format(host=gcs_url.removeprefix("http://")))
    assert read(Storage(), Location("gs", "test-bucket", "forms")) == b"data"


def test_a_file_that_may_not_be_written_is_not_allowed(storage: Storage) -> None:
    with pytest.raises(InvalidArgument, match="the folder /proc/no cannot be made"):
        write(storage, Location("file", "", "/proc/no/such"), b"")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "inside").write_bytes(b"1")
    (tmp_path / "outside").write_bytes(b"2")
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "outside")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["outside", "allowed/../outside", "allowed/link", "allowed-not", "."]
)
def test_local_roots_hold_after_links_and_dots(name: str, roots: Path) -> None:
    storage = Storage(local_roots=(roots / "allowed",))
    location = Location("file", "", f"{roots}/{name}")
    file = StoredFile(location, 1)
    for use in (storage.find, storage.list_below):
        with pytest.raises(PermissionDenied, match="LOCAL_ROOTS"):
            use(location)
    with pytest.raises(PermissionDenied):
        list(storage.read(file))
    with pytest.raises(PermissionDenied):
        write(storage, location, b"")


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("gs://one/team/x", True),
        ("gs://one/team/", True),
        ("gs://one/team", True),
        ("gs://one//team/x", False),
        ("gs://one/./team/x", False),
        ("gs://one/team/../other/x", False),
        ("gs://one/team-2/x", False),
        ("gs://one/", False),
        ("gs://two/team/x", False),
        ("/team/x", False),
        ("gs://whole/any/x", True),
        ("gs://whole//x", True),
        ("/data/x", True),
        ("/data/../x", False),
    ],
)
def test_allowed_prefixes_are_names_as_storage_has_them(uri: str, *, is_allowed: bool) -> None:
    prefixes = tuple(
        parse_location(prefix, parameter="p")
        for prefix in ("gs://one/team/", "gs://whole/", "/data/")
    )
    storage = Storage(allowed_uri_prefixes=prefixes)
    location = parse_location(uri, parameter="p")
    if is_allowed:
        storage.check_allowed(location)
    else:
        with pytest.raises(PermissionDenied, match="ALLOWED_URI_PREFIXES"):
            storage.check_allowed(location)


def test_files_below_a_root_may_be_used(roots: Path) -> None:
    storage = Storage(local_roots=(roots / "allowed",))
    assert read(storage, Location("file", "", f"{roots}/allowed/inside")) == b"1"
    write(storage, Location("file", "", f"{roots}/allowed/new/file"), b"3")
    assert (roots / "allowed" / "new" / "file").read_bytes() == b"3"


def test_without_roots_no_local_file_may_be_used(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied):
        Storage(local_roots=()).find(Location("file", "", str(tmp_path)))


def test_replaced_file_keeps_its_note_until_then(tmp_path: Path) -> None:
    """A job that is killed between a file's note and the file itself leaves the old one known."""
    target = parse_location(f"{tmp_path}/a", parameter="p")
    storage = Storage(local_roots=None)
    write(storage, target, b"first")
    path = tmp_path / "a"
    new = tmp_path / "new"
    new.write_bytes(b"second")
    write_note(path, new.stat(), {"note": "new"})
    assert read_note(path, path.stat())["note"] == "é"
    new.rename(path)
    assert read_note(path, path.stat())["note"] == "new"


def test_a_note_of_the_first_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    stat = path.stat()
    note = {"file": "a", "size": 1, "changed_ns": stat.st_mtime_ns, "metadata": {"k": "v"}}
    note_of(path).write_text(json.dumps(note))
    assert read_note(path, stat) == {"k": "v"}
