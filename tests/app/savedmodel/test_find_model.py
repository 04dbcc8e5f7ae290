"""Which version is taken, and what a folder without a model is answered with."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import InvalidModel, JobError, NotFound
from app.savedmodel.find_model import find_model
from app.savedmodel.model_files import ModelFiles
from app.storage import Storage, parse_location

INT64_MAX = str(2**63 - 1)


def find(folder: Path | str) -> ModelFiles:
    return find_model(parse_location(f"{folder}/", parameter="model"), Storage(local_roots=None))


def refused(folder: Path | str, kind: type[JobError] = InvalidModel) -> str:
    with pytest.raises(kind) as caught:
        find(folder)
    return str(caught.value)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Files below a model's folder, each of a few bytes."""

    def make_files(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"content")
        return tmp_path

    return make_files


def test_highest_number_wins_not_last_name(make: Callable[..., Path]) -> None:
    """The highest number is taken and not the last name."""
    model = find(make("9/saved_model.pb", "10/saved_model.pb", "10/assets/a", "latest/x"))
    assert model.version == "10"
    assert set(model.sizes()) == {"saved_model.pb", "assets/a"}


@pytest.mark.parametrize("names", [("1", "01"), ("7", "07", "007"), ("0", "00")])
def test_two_names_of_highest_number_are_refused(
    names: tuple[str, ...], make: Callable[..., Path]
) -> None:
    """Two names of the highest number are refused by name."""
    folder = make(*(f"{name}/saved_model.pb" for name in names))
    text = refused(folder)
    assert all(f"{folder}/{name}/" in text for name in names)
    assert find(folder / names[1]).files


def test_two_names_of_a_lower_number_do_no_harm(make: Callable[..., Path]) -> None:
    assert find(make(*(f"{name}/saved_model.pb" for name in ("1", "01", "2")))).version == "2"


def test_version_beyond_int64_is_left_out_with_warning(
    make: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A number beyond int64 is left out with a warning."""
    beyond = (str(2**63), "1" + "0" * 200)
    folder = make(*(f"{name}/saved_model.pb" for name in (*beyond, INT64_MAX, "5")))
    with caplog.at_level(logging.WARNING):
        assert find(folder).version == INT64_MAX
    assert all(f"{folder}/{name}/" in caplog.text for name in beyond)
    assert f"{folder}/5/" not in caplog.text


def test_only_beyond_int64_is_refused(
    make: Callable[..., Path],
) -> None:
    """Only numbers beyond int64 are refused with what to name."""
    folder = make(f"{2**63}/saved_model.pb")
    assert f"SavedModels are in {folder}/{2**63}/: name one" in refused(folder)
    assert find(folder / str(2**63)).version == "1"


def test_a_number_with_many_zeros_before_it_is_read(make: Callable[..., Path]) -> None:
    name = "0" * 240 + "8"
    assert find(make("7/saved_model.pb", f"{name}/saved_model.pb")).version == name


def test_names_like_numbers_are_no_versions(make: Callable[..., Path]) -> None:
    """Names that only look like numbers are no versions."""
    names = ("1", "²", "٣", "+4", "-5", "6.0", "1e9", " 7", "..data", "latest")
    model = find(make(*(f"{name}/saved_model.pb" for name in names)))
    assert model.version == "1"


def test_highest_version_without_model_is_refused(
    make: Callable[..., Path],
) -> None:
    """A highest version without a model is refused and the older offered."""
    folder = make("1/saved_model.pb", "2/saved_model.pb", "3/variables/variables.index")
    text = refused(folder)
    assert f"{folder}/3/ is the highest version and no SavedModel" in text
    assert "found variables/variables.index" in text
    assert f"give {folder}/2/ as model" in text


def test_an_older_version_with_gaps_is_not_offered(make: Callable[..., Path]) -> None:
    data = "variables/variables.data-0000{}-of-00002"
    whole = ("saved_model.pb", "variables/variables.index", data.format(0), data.format(1))
    lost = {"2": 0, "3": 1, "4": 2, "5": 3}
    names = [f"1/{name}" for name in whole]
    for version, place in lost.items():
        names += [f"{version}/{name}" for name in whole if name != whole[place]]
    folder = make(*names, "6/assets/words.txt")
    assert f"give {folder}/1/ as model" in refused(folder)


def test_an_empty_version_folder_is_not_passed_over(make: Callable[..., Path]) -> None:
    folder = make("1/saved_model.pb")
    (folder / "2" / "variables").mkdir(parents=True)
    assert f"{folder}/2/ is the highest version and no SavedModel" in refused(folder)
    (folder / "3").symlink_to("nowhere")
    text = refused(folder)
    assert f"{folder}/3/" in text
    assert "found nothing" in text


def test_models_further_down_are_named(make: Callable[..., Path]) -> None:
    folder = make("b/1/saved_model.pb", "b/2/saved_model.pb", "a/saved_model.pb", "a/readme.md")
    assert f"SavedModels are in {folder}/a/, {folder}/b/: name one of them" in refused(folder)
    assert find(folder / "b").version == "2"


def test_models_in_folders_called_by_numbers_are_named(make: Callable[..., Path]) -> None:
    folder = make("1001/1/saved_model.pb", "1002/1/saved_model.pb")
    text = refused(folder)
    assert f"{folder}/1002/ is the highest version and no SavedModel" in text
    assert f"SavedModels are in {folder}/1001/, {folder}/1002/: name one" in text


def test_many_models_further_down_are_named_by_a_few(make: Callable[..., Path]) -> None:
    folder = make(*(f"models/m{number:03}/1/saved_model.pb" for number in range(100)))
    text = refused(folder)
    assert f"{folder}/models/m004/ and 95 more" in text


@pytest.mark.parametrize("layout", ["versions", "model"])
def test_a_volume_of_links_is_taken_by_its_visible_names(layout: str, tmp_path: Path) -> None:
    data = tmp_path / "..2024_01" / ("1" if layout == "versions" else "")
    data.mkdir(parents=True)
    (data / "saved_model.pb").write_bytes(b"content")
    (tmp_path / "..data").symlink_to("..2024_01")
    name = "1" if layout == "versions" else "saved_model.pb"
    (tmp_path / name).symlink_to(Path("..data") / name)
    model = find(tmp_path)
    assert model.version == "1"
    assert "saved_model.pb" in model.sizes()
    assert model.size == len(b"content")


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables", "variables/variables.index", "assets", "assets/deep/er"]
)
def test_part_of_model_names_its_folder(name: str, make: Callable[..., Path]) -> None:
    """A part of a model is answered with the folder to name."""
    folder = make("1/saved_model.pb", "1/variables/variables.index", "1/assets/deep/er/x")
    text = refused(folder / "1" / name)
    assert f"it belongs to the SavedModel {folder}/1/: name that" in text


def test_a_file_that_is_no_model_is_called_a_file(make: Callable[..., Path]) -> None:
    assert "model.h5 is a file" in refused(make("model.h5") / "model.h5")


def test_a_folder_that_is_not_there_is_not_found(make: Callable[..., Path]) -> None:
    folder = make("1/saved_model.pb")
    assert refused(folder / "2", NotFound) == f"model: nothing below {folder}/2/"
    text = refused(folder / "1" / "1", NotFound)
    assert f"it belongs to the SavedModel {folder}/1/" in text
