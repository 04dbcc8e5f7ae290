"""Models that came damaged are told by file, before any server; those that work are not refused."""

import logging
import shutil
from pathlib import Path

import pytest

from app.errors import InvalidModel
from app.savedmodel.fetch_model import fetch_model
from app.savedmodel.find_model import find_model
from app.savedmodel.graph_variables import variables_needed
from app.storage import Storage, parse_location
from tests.fakes.damage import DAMAGES, POINTER, copy_of

DATA = "variables/variables.data-0000{}-of-00003"
INDEX = "variables/variables.index"


def judge(folder: Path, target: Path) -> None:
    """What a job does with a model before it starts a server."""
    storage = Storage(local_roots=None)
    model = find_model(parse_location(f"{folder}/", parameter="model"), storage)
    place = target / "fetched"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    fetch_model(model, storage, place, lambda: None)


def fault(folder: Path, target: Path) -> str:
    with pytest.raises(InvalidModel) as caught:
        judge(folder, target)
    return str(caught.value)


@pytest.fixture
def shards(models: Path, tmp_path: Path) -> Path:
    """A model to damage, of one version with several data files."""
    copy_of(models / "shards" / "1", tmp_path / "model" / "1")
    return tmp_path / "model"


def test_whole_models_of_all_kinds_are_taken(models: Path, tmp_path: Path) -> None:
    for name in ("zoo", "linear", "formats", "unversioned", "foreign_objects", "shards"):
        judge(models / name, tmp_path)
    for name in ("tf1", "tf1_constant", "table"):
        judge(models / name, tmp_path)


def test_each_damage_of_each_file_is_named(models: Path, tmp_path: Path) -> None:
    """Each file of a model damaged in each way is named."""
    source = models / "shards" / "1"
    harmless = set()
    for path in sorted(source.rglob("*")):
        for damage, make in DAMAGES.items():
            if path.is_dir():
                continue
            name = path.relative_to(source).as_posix()
            make(copy_of(source, tmp_path / "model" / "1") / name)
            try:
                judge(tmp_path / "model", tmp_path)
            except InvalidModel as error:
                assert name in str(error), (damage, str(error))  # noqa: PT017  # or it is harmless
            else:
                harmless.add((name, damage))
    assert harmless == {("fingerprint.pb", damage) for damage in DAMAGES}


def test_cut_off_data_file_names_both_sizes(shards: Path, tmp_path: Path) -> None:
    """A data file that is cut off is named with both numbers."""
    data = shards / "1" / DATA.format(1)
    data.write_bytes(data.read_bytes()[:63])
    text = fault(shards, tmp_path)
    assert f"{DATA.format(1)} is cut off: it has 63 bytes, and must have 64" in text
    assert str(shards / "1") in text


def test_a_saved_model_cut_off_anywhere_is_named(shards: Path, tmp_path: Path) -> None:
    graph = shards / "1" / "saved_model.pb"
    content = graph.read_bytes()
    for length in range(0, len(content), 97):
        graph.write_bytes(content[:length])
        assert "saved_model.pb" in fault(shards, tmp_path)
    assert f"it has {length} bytes, and must have {len(content)}" in fault(shards, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html><head>", "a web page (HTML or XML) and no SavedModel: it begins"),
        (b"\xef\xbb\xbf  <html>", "a web page"),
        (b'{"error": "not found"}', 'it begins with \'{"error": "not found"}\''),
        (b"Not Found", "no SavedModel"),
        (b"\x1f\x8b\x08\x00" + b"x" * 50, "no SavedModel"),
        (b"PK\x03\x04" + b"x" * 50, "no SavedModel"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "no SavedModel"),
        (b"\n\x03abc" * 3, "holds no graph"),
    ],
)
def test_what_is_no_saved_model_under_its_name_is_named(
    content: bytes, words: str, shards: Path, tmp_path: Path
) -> None:
    (shards / "1" / "saved_model.pb").write_bytes(content)
    text = fault(shards, tmp_path)
    assert "saved_model.pb is" in text or "saved_model.pb holds" in text
    assert words in text


def test_all_pointers_are_named_with_what_to_do(shards: Path, tmp_path: Path) -> None:
    names = ["saved_model.pb", INDEX, DATA.format(0), "assets/a list of words.txt"]
    for name in names:
        (shards / "1" / name).write_bytes(POINTER)
    text = fault(shards, tmp_path)
    assert all(name in text for name in names)
    assert "`git lfs pull`" in text


def test_unread_lfs_pointers_are_a_warning(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pointers among files that nobody reads are a warning."""
    (shards / "1" / "picture.png").write_bytes(POINTER)
    with caplog.at_level(logging.WARNING):
        judge(shards, tmp_path)
    assert "picture.png" in caplog.text


@pytest.mark.parametrize("name", ["shards", "tf1", "linear"])
def test_variables_that_are_missing_as_a_whole_are_named(
    name: str, models: Path, tmp_path: Path
) -> None:
    model = copy_of(models / name, tmp_path / "model")
    for version in model.iterdir():
        shutil.rmtree(version / "variables")
    text = fault(model, tmp_path)
    assert f"{INDEX} is missing (no data file is there)" in text
    assert "variable" in text.rpartition("values of")[2]


@pytest.mark.parametrize("name", ["zoo", "formats", "tf1_constant", "table"])
def test_a_model_that_works_without_variables_is_taken(
    name: str, models: Path, tmp_path: Path
) -> None:
    model = copy_of(models / name, tmp_path / "model")
    shutil.rmtree(model / "1" / "variables", ignore_errors=True)
    judge(model, tmp_path)


@pytest.mark.parametrize("damage", ["removed", "emptied", "halved"])
@pytest.mark.parametrize("name", [INDEX, "variables/variables.data-00000-of-00001"])
def test_damage_without_variables_is_harmless(
    name: str, damage: str, models: Path, tmp_path: Path
) -> None:
    """Damaged variables of a model that has none are harmless."""
    model = copy_of(models / "zoo", tmp_path / "model")
    DAMAGES[damage](model / "1" / name)
    judge(model, tmp_path)


def test_unread_variable_leftovers_are_harmless(models: Path, tmp_path: Path) -> None:
    """Leftovers of variables that no graph reads are harmless."""
    model = copy_of(models / "tf1_constant", tmp_path / "model")
    (model / "1" / "variables").mkdir(exist_ok=True)
    (model / "1" / INDEX).write_bytes(b"cut off")
    judge(model, tmp_path)


def test_bad_version_offers_older_whole_one(models: Path, tmp_path: Path) -> None:
    """A bad version offers the older one that looks whole."""
    model = copy_of(models / "shards", tmp_path / "model")
    copy_of(model / "1", model / "0")
    (model / "2" / DATA.format(2)).unlink()
    assert f"give {model}/1/ as model" in fault(model, tmp_path)
    (model / "1" / INDEX).unlink()
    assert f"give {model}/0/ as model" in fault(model, tmp_path)
    (model / "0" / DATA.format(0)).unlink()
    assert "as model" not in fault(model, tmp_path)


@pytest.mark.parametrize("part", ["node", "input"])
def test_a_graph_of_too_many_parts_is_left_to_the_server(part: str, tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        size = len(content)
        digits = []
        while size > 127:
            digits.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *digits, size]) + content

    def needed(parts: int) -> int:
        inputs, nodes = (0, parts) if part == "node" else (parts, 0)
        variable = field(1, b"v") + field(2, b"VarHandleOp") + field(3, b"") * inputs
        output = field(2, field(1, b"y") + field(2, field(1, b"v:0")))
        graph = (
            field(1, field(4, b"serve"))
            + field(2, field(1, variable) + field(1, b"") * nodes)
            + field(5, field(1, b"serving_default") + field(2, output))
        )
        (tmp_path / "saved_model.pb").write_bytes(field(2, graph))
        return variables_needed(tmp_path / "saved_model.pb")

    assert needed(1000) == 1
    assert needed(1_000_000) == 0


def test_a_file_that_cannot_be_read_is_told(shards: Path, tmp_path: Path) -> None:
    storage = Storage(local_roots=None)
    model = find_model(parse_location(f"{shards}/", parameter="model"), storage)
    (shards / "1" / "saved_model.pb").unlink()
    with pytest.raises(InvalidModel, match="cannot be read: No such file"):
        fetch_model(model, storage, tmp_path, lambda: None)
