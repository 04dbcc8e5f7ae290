"""What an output may replace, and what it may not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService

ROW = "[1,2,3]"
Put = Callable[[str, str | bytes], None]
Get = Callable[[str], bytes]


@pytest.fixture(params=["gs", "file"])
def place(request: pytest.FixtureRequest, bucket: Bucket, local_root: Path) -> tuple[str, Put, Get]:
    """A folder of each kind of storage, with a model in it; how files are put there and read."""
    name = f"outputs-{request.node.name.replace('/', '-')}"
    root = local_root / name

    def put_file(path: str, text: str | bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())

    is_gs = request.param == "gs"
    put: Put = (lambda path, text: bucket.put(f"{name}/{path}", text)) if is_gs else put_file
    for model_file in bucket.names("models/zoo/"):
        put(f"m/{model_file.removeprefix('models/zoo/')}", bucket.get(model_file))
    if is_gs:
        return f"{bucket.uri}/{name}", put, lambda path: bucket.get(f"{name}/{path}")
    return str(root), put, lambda path: (root / path).read_bytes()


def post(service: RunningService, place: str, **changes: object) -> requests.Response:
    parameters = {
        "model": f"{place}/m/",
        "input": f"{place}/in/",
        "output": f"{place}/out/",
        **changes,
    }
    return requests.post(service.url, json=parameters, timeout=50)


@pytest.mark.parametrize("output", ["m/", "m/1/", "m/1/variables/", "m/out/", ""])
def test_an_output_inside_the_model_is_refused(
    output: str, place: tuple[str, Put, Get], service: RunningService
) -> None:
    folder, put, get = place
    name = "m/1/saved_model.pb" if not output else "saved_model.pb"
    put(f"in/{name}", ROW)
    before = get("m/1/saved_model.pb")
    for force in (False, True):
        refused = post(service, folder, output=f"{folder}/{output}", force=force)
        assert refused.status_code == 400, refused.text
        assert "is inside the model" in refused.json()["error"]["message"]
    assert get("m/1/saved_model.pb") == before


@pytest.mark.parametrize(
    ("output", "is_refused"),
    [("m/", True), ("m/11/", True), ("m/2/deep/", True), ("m/predictions/", False)],
)
def test_output_among_versions_is_refused(
    output: str,
    is_refused: bool,  # noqa: FBT001  # pytest passes by name
    place: tuple[str, Put, Get],
    service: RunningService,
) -> None:
    """Also where the model is named by its version."""
    folder, put, _ = place
    put("in/a.jsonl", ROW)
    answer = post(service, folder, model=f"{folder}/m/1/", output=f"{folder}/{output}")
    assert answer.status_code == (400 if is_refused else 200), answer.text
    assert not is_refused or "among the versions" in answer.json()["error"]["message"]


def test_output_in_model_by_link_is_refused(
    bucket: Bucket, local_root: Path, service: RunningService
) -> None:
    """An output inside the model through a link is refused."""
    root = local_root / "outputs-link"
    for name in bucket.names("models/zoo/"):
        file = root / "m" / name.removeprefix("models/zoo/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bucket.get(name))
    (root / "in").mkdir()
    (root / "in" / "a").write_text(ROW)
    (root / "out").symlink_to("m/1")
    refused = post(service, str(root))
    assert refused.status_code == 400, refused.text
    assert "is inside the model" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [("a.jsonl", {}), ("a.jsonl.errors.jsonl", {"on_error": "skip"})],
)
def test_foreign_file_is_replaced_only_by_force(
    name: str, changes: dict[str, str], place: tuple[str, Put, Get], service: RunningService
) -> None:
    """A file that no job has made is replaced only by force."""
    folder, put, get = place
    put("in/a.jsonl", f"{ROW}\nx\n" if changes else ROW)
    put("in/b.jsonl", ROW)
    put(f"out/{name}", "mine")
    refused = post(service, folder, **changes)
    assert refused.status_code == 409, refused.text
    error = refused.json()["error"]
    assert error["status"] == "ALREADY_EXISTS"
    assert f"{folder}/out/{name} is there already" in error["message"]
    assert "force=true" in error["message"]
    assert "Retry-After" not in refused.headers
    assert get(f"out/{name}") == b"mine"
    done = post(service, folder, force=True, **changes)
    assert done.status_code == 200, done.text
    assert get(f"out/{name}") != b"mine"
    # It is a job's own from then on.
    put("in/a.jsonl", f"{ROW}\n{ROW}\nx\n" if changes else f"{ROW}\n{ROW}")
    assert post(service, folder, **changes).status_code == 200
    assert get("out/a.jsonl").count(b"\n") == 2


def test_a_report_counts_the_files_that_were_left_out(
    place: tuple[str, Put, Get], service: RunningService
) -> None:
    folder, put, _ = place
    for name in ("_SUCCESS", ".a.crc", "b_$folder$"):
        put(f"in/{name}", "")
    put("in/a.jsonl", ROW)
    done = post(service, folder)
    assert done.status_code == 200, done.text
    assert done.json()["files_left_out"] == 3
    assert [file["output"] for file in done.json()["files"]] == [f"{folder}/out/a.jsonl"]


def test_a_folders_placeholder_object_is_left_out(bucket: Bucket, service: RunningService) -> None:
    """Consoles make such objects; one with content is told of."""
    bucket.put("placeholder/in/", "")
    bucket.put("placeholder/in/a.jsonl", ROW)
    for name in bucket.names("models/zoo/"):
        bucket.put(f"placeholder/m/{name.removeprefix('models/zoo/')}", bucket.get(name))
    bucket.put("placeholder/m/1/", "")
    done = post(service, f"{bucket.uri}/placeholder")
    assert done.status_code == 200, done.text
    assert done.json()["files_left_out"] == 1
    bucket.put("placeholder/in/b/", ROW)
    refused = post(service, f"{bucket.uri}/placeholder")
    assert refused.status_code == 422, refused.text
    assert "placeholder/in/b/: an object with content" in refused.json()["error"]["message"]
