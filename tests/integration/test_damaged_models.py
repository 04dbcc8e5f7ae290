"""Models that came damaged, through the service; and what the model server makes of the others."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.damage import DAMAGES, POINTER, copy_of
from tests.fakes.error_details import details_of
from tests.fakes.processes import RunningService
from tfserving_launcher import ModelLoadError, ModelServer

DATA = "variables/variables.data-0000{}-of-00003"
INDEX = "variables/variables.index"
ROW = [1.0, 0.0, 0.0, 0.0]

Answer = Callable[[str], str]


@pytest.fixture
def answer(service: RunningService, bucket: Bucket) -> Iterator[Answer]:
    """What a job with the model is told that is refused before a server starts."""
    bucket.put("damaged/in/a.jsonl", "[1,2,3,4]\n")

    def call(model: str) -> str:
        parameters = {
            "model": model,
            "input": f"{bucket.uri}/damaged/in/",
            "output": f"{bucket.uri}/damaged/out/",
        }
        response = requests.post(service.url, json=parameters, timeout=50)
        error = response.json()["error"]
        assert (response.status_code, error["status"]) == (422, "FAILED_PRECONDITION"), error
        assert "server_start" not in details_of(error)["seconds"]
        return str(error["message"])

    yield call
    assert bucket.names("damaged/out/") == []


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (DATA.format(1), "removed", "is missing, of which the index tells"),
        (DATA.format(1), "halved", "is cut off: it has 32 bytes, and must have 64"),
        (DATA.format(1), "pointer", "Git LFS pointers in place of files"),
        (INDEX, "removed", "is missing (variables/variables.data-00000-of-00003, "),
        (INDEX, "emptied", "its 0 bytes do not end as one does"),
        ("saved_model.pb", "emptied", "is empty"),
        ("saved_model.pb", "halved", "is cut off: it has"),
        ("saved_model.pb", "pointer", "run `git lfs pull`"),
    ],
)
def test_damaged_bucket_file_is_named_older_offered(
    name: str, damage: str, words: str, answer: Answer, bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    """A damaged file in a bucket is named and the older version offered."""
    model = copy_of(models / "shards", tmp_path / "model")
    DAMAGES[damage](model / "2" / name)
    folder = f"damaged/{damage}/{name}/m"
    bucket.put_folder(folder, model)
    text = answer(f"{bucket.uri}/{folder}")
    assert name in text
    assert words in text
    assert f"{bucket.uri}/{folder}/2/" in text
    assert f"give {bucket.uri}/{folder}/1/ as model" in text


def test_untakeable_bucket_versions_are_named(answer: Answer, bucket: Bucket, models: Path) -> None:
    """Versions in a bucket that cannot be taken are named."""
    for version in ("1", "01", "2"):
        bucket.put_folder(f"damaged/deep/versions/{version}", models / "shards" / "1")
    uri = f"{bucket.uri}/damaged/deep/versions"
    bucket.delete("damaged/deep/versions/2/saved_model.pb")
    text = answer(uri)
    assert f"{uri}/2/ is the highest version and no SavedModel" in text
    assert "found assets" not in text
    for name in bucket.names("damaged/deep/versions/2/"):
        bucket.delete(name)
    text = answer(uri)
    assert f"{uri}/01/" in text
    assert f"{uri}/1/" in text
    text = answer(f"{bucket.uri}/damaged/deep/")
    assert f"SavedModels are in {uri}/: name one" in text
    for part in ("saved_model.pb", "variables/", INDEX):
        assert f"it belongs to the SavedModel {uri}/1/" in answer(f"{uri}/1/{part}")


def test_missing_asset_is_named_by_model_path(
    service: RunningService,
    bucket: Bucket,
    models: Path,
    local_root: Path,
    temporary_folder: Path,
) -> None:
    """An asset that is missing is named by its path in the model."""
    local = copy_of(models / "table", local_root / "table")
    (local / "1" / "assets" / "words.txt").unlink()
    bucket.put_folder("damaged/table", local)
    bucket.put("damaged/in/a.jsonl", "[1,2,3,4]\n")
    for model in (f"{bucket.uri}/damaged/table/", str(local)):
        parameters = {
            "model": model,
            "input": f"{bucket.uri}/damaged/in/",
            "output": f"{bucket.uri}/damaged/out/",
        }
        response = requests.post(service.url, json=parameters, timeout=50)
        assert response.status_code == 422
        assert ".../1/assets/words.txt; No such file" in response.json()["error"]["message"]
        assert str(temporary_folder) not in response.text


def predicted(version_dir: Path, signature: str = "serving_default") -> object:
    """What the model server, to which nothing was told of any damage, makes of a row."""
    inputs: dict[str, object] = {"word": ["word 7"]} if signature == "find" else {"x": [ROW]}
    if signature == "matrix":
        inputs = {"x": [[[1.0] * 3] * 2]}
    with ModelServer(version_dir) as server:
        (output,) = server.predict(inputs, signature_name=signature).values()
    return output.tolist()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_judged_does_no_harm(damage: str, models: Path, tmp_path: Path) -> None:
    version = copy_of(models / "shards" / "1", tmp_path / "1")
    DAMAGES[damage](version / "fingerprint.pb")
    assert predicted(version) == [[30.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "signature", "expected"),
    [
        ("zoo", "matrix", [[[1.0] * 3] * 2]),
        ("tf1_constant", "serving_default", [[2.0, 0.0, 0.0, 0.0]]),
        ("table", "find", [7]),
    ],
)
def test_models_without_variables_need_no_folder(
    name: str, signature: str, expected: object, models: Path, tmp_path: Path
) -> None:
    """Models that need no variables work without their folder."""
    version = copy_of(models / name / "1", tmp_path / "1")
    shutil.rmtree(version / "variables", ignore_errors=True)
    assert predicted(version, signature) == expected


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [INDEX, "variables/variables.data-00000-of-00001"])
def test_damage_to_unused_variables_is_harmless(
    name: str, damage: str, models: Path, tmp_path: Path
) -> None:
    """Damaged variables of a model that has none do no harm."""
    version = copy_of(models / "zoo" / "1", tmp_path / "1")
    DAMAGES[damage](version / name)
    assert predicted(version, "matrix") == [[[1.0] * 3] * 2]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_variables_are_judged_as_the_server_does(
    damage: str, models: Path, tmp_path: Path
) -> None:
    version = copy_of(models / "shards" / "1", tmp_path / "1")
    DAMAGES[damage](version / DATA.format(2))
    with pytest.raises(ModelLoadError), ModelServer(version):
        pass


def test_pointers_in_files_that_nobody_reads_do_no_harm(models: Path, tmp_path: Path) -> None:
    version = copy_of(models / "shards" / "1", tmp_path / "1")
    (version / "picture.png").write_bytes(POINTER)
    assert predicted(version) == [[30.0, 0.0, 0.0, 0.0]]
