"""The same call again: what is there stays, what is missing is made, and nobody mixes."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService, gunicorn

Call = Callable[..., requests.Response]
ROW = "[1,2,3]"


@pytest.fixture
def call(service: RunningService, bucket: Bucket) -> Call:
    def post(**changes: object) -> requests.Response:
        parameters = {"model": f"{bucket.uri}/models/zoo/", **changes}
        response = requests.post(service.url, json=parameters, timeout=50)
        assert response.status_code == 200, response.text
        return response

    return post


def states(response: requests.Response) -> list[str]:
    return [file["state"] for file in response.json()["files"]]


@pytest.fixture(params=["gs", "file"])
def folder(request: pytest.FixtureRequest, bucket: Bucket, local_root: Path) -> tuple[str, object]:
    """A place of each kind, and how a file is put there."""
    name = f"repeats-{request.node.name}"
    if request.param == "gs":
        return f"{bucket.uri}/{name}", lambda path, text: bucket.put(f"{name}/{path}", text)
    root = local_root / name

    def put(path: str, text: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return str(root), put


@pytest.mark.readme("resume after a failure")
def test_only_what_is_missing_or_changed_is_made_again(
    call: Call, folder: tuple[str, Callable[[str, str], None]]
) -> None:
    place, put = folder
    for name in ("a", "b", "c"):
        put(f"in/{name}.jsonl", ROW)
    job = {"input": f"{place}/in/", "output": f"{place}/out/"}
    first = call(**job)
    assert states(first) == ["PREDICTED"] * 3
    again = call(**job)
    assert states(again) == ["REUSED"] * 3
    assert "server_start" not in again.json()["seconds"]
    for key in ("instances", "predictions", "errors"):
        assert again.json()[key] == first.json()[key]
    assert [{**f, "state": ""} for f in again.json()["files"]] == [
        {**f, "state": ""} for f in first.json()["files"]
    ]
    put("in/b.jsonl", f"{ROW}\n{ROW}")
    put("in/d.jsonl", ROW)
    third = call(**job)
    assert states(third) == ["REUSED", "PREDICTED", "REUSED", "PREDICTED"]
    assert third.json()["predictions"] == 5
    assert states(call(**job, force=True)) == ["PREDICTED"] * 4
    assert states(call(**job, batch_size=1)) == ["PREDICTED"] * 4
    assert states(call(**job, batch_size=1)) == ["REUSED"] * 4
    assert states(call(**job, batch_size=1, on_error="skip")) == ["PREDICTED"] * 4


def test_another_version_of_the_model_makes_all_again(call: Call, bucket: Bucket) -> None:
    bucket.put("versions/in.jsonl", "[1,2,3,4]")
    job = {
        "model": f"{bucket.uri}/versions/model/",
        "input": f"{bucket.uri}/versions/in.jsonl",
        "output": f"{bucket.uri}/versions/out/",
    }
    for version, factor in (("9", 9.0), ("10", 10.0)):
        for name in bucket.names(f"models/linear/{version}/"):
            bucket.put(f"versions/model/{name.removeprefix('models/linear/')}", bucket.get(name))
        assert states(call(**job)) == ["PREDICTED"]
        assert states(call(**job)) == ["REUSED"]
        assert json.loads(bucket.get("versions/out/in.jsonl"))[0] == factor


def test_the_file_of_bad_rows_belongs_to_its_output(
    call: Call, folder: tuple[str, Callable[[str, str], None]], bucket: Bucket
) -> None:
    place, put = folder
    put("in/a.jsonl", f"{ROW}\nx\n")
    job = {"input": f"{place}/in/a.jsonl", "output": f"{place}/out/", "on_error": "skip"}
    first = call(**job).json()["files"][0]
    again = call(**job).json()["files"][0]
    assert {**again, "state": "PREDICTED"} == first
    assert again["state"] == "REUSED"

    def remove_errors() -> None:
        if place.startswith("gs://"):
            bucket.delete(f"{place.removeprefix(bucket.uri + '/')}/out/a.jsonl.errors.jsonl")
        else:
            Path(place, "out/a.jsonl.errors.jsonl").unlink()

    def errors_are_there() -> bool:
        if place.startswith("gs://"):
            return bool(bucket.names(f"{place.removeprefix(bucket.uri + '/')}/out/a.jsonl.errors"))
        return Path(place, "out/a.jsonl.errors.jsonl").exists()

    remove_errors()
    assert states(call(**job)) == ["PREDICTED"]
    assert errors_are_there()
    put("in/a.jsonl", f"{ROW}\n{ROW}\n")
    assert states(call(**job)) == ["PREDICTED"]
    assert not errors_are_there()


def test_inputs_below_the_output_are_inputs(call: Call, bucket: Bucket) -> None:
    bucket.put("above/in/a.jsonl", ROW)
    job = {"input": f"{bucket.uri}/above/in/", "output": f"{bucket.uri}/above/"}
    assert states(call(**job)) == ["PREDICTED"]
    assert bucket.names("above/") == ["above/a.jsonl", "above/in/a.jsonl"]


def test_outputs_below_input_are_no_inputs(call: Call, bucket: Bucket) -> None:
    """Outputs below the input are no inputs of the next call."""
    bucket.put("nested/in/a.jsonl", ROW)
    job = {"input": f"{bucket.uri}/nested/in/", "output": f"{bucket.uri}/nested/in/out/"}
    assert states(call(**job)) == ["PREDICTED"]
    assert states(call(**job)) == ["REUSED"]
    assert bucket.names("nested/in/") == ["nested/in/a.jsonl", "nested/in/out/a.jsonl"]


@pytest.mark.parametrize("place", ["gs", "file"])
def test_one_of_two_calls_wins_other_says_so(
    place: str,
    service: RunningService,
    bucket: Bucket,
    gcs_url: str,
    local_root: Path,
    temporary_folder: Path,
) -> None:
    """Of two calls at the same time one wins and the other says so."""
    bucket.put("twice/in.jsonl", f"{ROW}\n" * 20_000)
    out = f"{bucket.uri}/twice/out/" if place == "gs" else f"{local_root}/twice/out/"
    job = {
        "model": f"{bucket.uri}/models/zoo/",
        "input": f"{bucket.uri}/twice/in.jsonl",
        "output": out,
    }
    environment = {
        "STORAGE_EMULATOR_HOST": gcs_url,
        "TMPDIR": str(temporary_folder),
        "LOCAL_ROOTS": str(local_root),
    }
    with gunicorn(environment) as other_service:
        answers: list[requests.Response] = []
        threads = [
            threading.Thread(
                target=lambda url=url: answers.append(requests.post(url, json=job, timeout=50))
            )
            for url in (service.url, other_service.url)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    codes = sorted(answer.status_code for answer in answers)
    assert codes in ([200, 409], [200, 200])
    if codes == [200, 200]:
        # One came so late that it found the work done.
        assert sorted(states(answer)[0] for answer in answers) == ["PREDICTED", "REUSED"]
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["status"] == "ABORTED"
            assert "Retry-After" in answer.headers
    expected = b"[3.0,5.0,7.0]\n" * 20_000
    if place == "gs":
        assert bucket.get("twice/out/in.jsonl") == expected
    else:
        assert (local_root / "twice/out/in.jsonl").read_bytes() == expected
        assert sorted(path.suffix for path in (local_root / "twice/out").iterdir()) == [
            ".json",
            ".jsonl",
        ]
