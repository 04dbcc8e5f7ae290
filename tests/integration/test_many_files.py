"""Many files at a distance: what goes out together, and what is told when something fails."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes.buckets import Bucket
from tests.fakes.cloud_storage import CloudStorage
from tests.fakes.distant_network import Distance, address, distant_network, listening
from tests.fakes.error_details import details_of
from tests.fakes.google_protocol import Answer
from tests.fakes.processes import RunningService, gunicorn
from tests.faults.disturbances import answers, does_first
from tests.faults.storage_proxy import (
    Forward,
    Operation,
    Request,
    Rule,
    StorageProxy,
    storage_proxy,
)

FILES = 40
NAMES = [f"{number:02}.jsonl" for number in range(FILES)]


@pytest.fixture(scope="module")
def storage() -> CloudStorage:
    return CloudStorage()


@pytest.fixture(scope="module")
def proxy(storage: CloudStorage) -> Iterator[StorageProxy]:
    with storage_proxy(storage) as proxy_of_this_file:
        yield proxy_of_this_file


@pytest.fixture(scope="module")
def many(storage: CloudStorage, models: Path) -> Iterator[Bucket]:
    """A bucket with a model, and many small inputs below `in/`; behind the proxy's back."""
    with storage_proxy(storage) as direct:
        bucket = Bucket(direct.url, "many")
        bucket.put_folder("model", models / "zoo")
        for number, name in enumerate(NAMES):
            bucket.put(f"in/{name}", f"[{number}.0]\n[{number}.5]\n")
        yield bucket


@pytest.fixture(scope="module")
def instance(proxy: StorageProxy, temporary_folder: Path) -> Iterator[RunningService]:
    environment = {
        "STORAGE_EMULATOR_HOST": proxy.url,
        "STORAGE_RETRY_SECONDS": "5",
        "TMPDIR": str(temporary_folder),
    }
    with gunicorn(environment) as running:
        yield running


@pytest.fixture
def call(
    instance: RunningService, proxy: StorageProxy, many: Bucket
) -> Callable[..., requests.Response]:
    """Call the service; outputs of earlier tests are gone, and nothing is broken any more."""
    proxy.calm_down()
    for name in many.names("out/"):
        many.delete(name)

    def post(**changes: object) -> requests.Response:
        parameters = {
            "model": f"{many.uri}/model/",
            "signature_name": "any_length",
            "input": f"{many.uri}/in/",
            "output": f"{many.uri}/out/",
            **changes,
        }
        return requests.post(instance.url, json=parameters, timeout=60)

    return post


def is_(operation: Operation, *names: str) -> Callable[[Request], bool]:
    return lambda one: one.operation == operation and (not names or one.name.endswith(names))


def outputs(many: Bucket) -> set[str]:
    return {name.removeprefix("out/") for name in many.names("out/")}


def reported(body: dict[str, Any]) -> list[str]:
    return [file["output"].rpartition("/")[2] for file in body["files"]]


def test_one_row_takes_three_round_trips(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """Three lists go out together, then the model's files and the input, and then the output."""
    files = len(many.names("model/")) + 1
    looked_up = threading.Barrier(3, timeout=10)
    proxy.rules.append(Rule(is_("list"), does_first(looked_up.wait)))
    proxy.rules.append(Rule(is_("find", "00.jsonl"), does_first(looked_up.wait)))
    fetched = threading.Barrier(files, timeout=10)
    proxy.rules.append(Rule(is_("read"), does_first(fetched.wait)))
    answer = call(input=f"{many.uri}/in/00.jsonl")
    assert answer.status_code == 200, answer.text
    expected = {"list": 2, "get": 1, "read": files, "insert": 1}
    assert answer.json()["storage_requests"] == expected
    assert len(proxy.requests) == sum(expected.values())
    assert proxy.requests[-1].operation == "insert"


def test_files_are_read_and_published_side_by_side(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """Each of ten waits for the others, so one after the other they would never come."""
    read, published = threading.Barrier(10, timeout=10), threading.Barrier(10, timeout=10)
    ten = tuple(NAMES[:10])
    proxy.rules.append(Rule(is_("read", *ten), does_first(read.wait)))
    proxy.rules.append(Rule(is_("insert", *ten), does_first(published.wait)))
    answer = call()
    assert answer.status_code == 200, answer.text
    assert not read.broken
    assert not published.broken
    assert reported(answer.json()) == NAMES
    assert outputs(many) == set(NAMES)
    for number, name in enumerate(NAMES):
        rows = [json.loads(line) for line in many.get(f"out/{name}").splitlines()]
        assert rows == [[float(number)], [number + 0.5]]
    requests_ = answer.json()["storage_requests"]
    assert requests_["insert"] == FILES
    assert requests_["list"] == 3


def test_the_first_file_with_an_error_is_told(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """What is there of later files is in the report."""
    proxy.rules.append(Rule(is_("insert", "09.jsonl", "07.jsonl"), answers(403)))
    answer = call()
    assert answer.status_code == 403
    body = answer.json()
    assert "out/07.jsonl: permission denied" in body["error"]["message"]
    there = outputs(many)
    assert there >= set(NAMES[:7])
    assert there.isdisjoint({"07.jsonl", "09.jsonl"})
    assert reported(details_of(body)) == sorted(there)
    proxy.calm_down()
    again = call()
    assert again.status_code == 200, again.text
    assert [file["state"] for file in again.json()["files"]].count("REUSED") == len(there)


def test_a_bad_row_ends_the_job_after_the_files_before_it(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """Also where those are not there yet: storage takes the fifth file at the third attempt."""
    many.put("in/20.jsonl", "[1.0]\nnonsense\n")
    proxy.rules.append(
        Rule(lambda one: is_("insert", "05.jsonl")(one) and one.count < 2, answers(503))
    )
    try:
        answer = call()
    finally:
        many.put("in/20.jsonl", "[20.0]\n[20.5]\n")
    assert answer.status_code == 422
    assert "in/20.jsonl, line 2" in answer.json()["error"]["message"]
    assert proxy.hits() == 2
    assert outputs(many) == set(NAMES[:20])
    assert reported(details_of(answer.json())) == NAMES[:20]


def test_an_earlier_files_error_comes_before_a_bad_row(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    many.put("in/20.jsonl", "nonsense\n")
    proxy.rules.append(Rule(is_("insert", "18.jsonl"), answers(503)))
    try:
        answer = call()
    finally:
        many.put("in/20.jsonl", "[20.0]\n[20.5]\n")
    assert answer.status_code == 502
    assert "out/18.jsonl" in answer.json()["error"]["message"]
    assert outputs(many) == {*NAMES[:18], "19.jsonl"}
    assert reported(details_of(answer.json())) == [*NAMES[:18], "19.jsonl"]


def test_stale_errors_that_stay_do_not_hide_the_output(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """An errors file of an earlier call cannot be deleted: the output is reported all the same."""
    many.put("in/20.jsonl", "[1.0]\nnonsense\n")
    assert call(on_error="skip").status_code == 200
    many.put("in/20.jsonl", "[20.0]\n[20.5]\n")
    proxy.rules.append(Rule(is_("delete"), answers(403)))
    answer = call()
    assert answer.status_code == 403
    assert "20.jsonl.errors.jsonl: permission denied" in answer.json()["error"]["message"]
    assert "20.jsonl" in reported(details_of(answer.json()))


def test_an_output_that_storage_denies_is_reported_with_its_errors(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """Storage takes it and answers 503; asked again, it says that it may not be written."""
    many.put("in/20.jsonl", "[1.0]\nnonsense\n")
    is_output = is_("insert", "20.jsonl")

    def takes_and_denies(_: Request, __: bytes, forward: Forward) -> Answer:
        forward()
        return Answer(503, {}, b"")

    proxy.rules.append(Rule(lambda one: is_output(one) and one.count == 0, takes_and_denies))
    proxy.rules.append(Rule(is_output, answers(403)))
    try:
        answer = call(on_error="skip")
    finally:
        many.put("in/20.jsonl", "[20.0]\n[20.5]\n")
    assert proxy.hits() == 2
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"] == 1
    assert outputs(many) == {*NAMES, "20.jsonl.errors.jsonl"}


def test_outputs_that_are_late_at_the_end_of_time_are_reported(
    call: Callable[..., requests.Response], proxy: StorageProxy, many: Bucket
) -> None:
    """Storage has them, and answers after the job's time is up."""
    late = threading.Event()

    def takes_and_waits(_: Request, __: bytes, forward: Forward) -> Answer:
        answer = forward()
        late.wait(6)
        return answer

    proxy.rules.append(Rule(is_("insert"), takes_and_waits))
    answer = call(timeout_seconds=4)
    late.set()
    assert answer.status_code == 504
    there = outputs(many)
    assert len(there) > 1
    assert set(reported(details_of(answer.json()))) == there


def test_distance_and_jitter_change_nothing(
    proxy: StorageProxy, many: Bucket, temporary_folder: Path
) -> None:
    proxy.calm_down()
    distance = Distance(round_trip_ms=20, megabytes_per_second=5, jitter_ms=20)
    with listening() as listener, distant_network(listener, proxy.url, distance):
        environment = {"STORAGE_EMULATOR_HOST": address(listener), "TMPDIR": str(temporary_folder)}
        with gunicorn(environment) as far:
            parameters = {
                "model": f"{many.uri}/model/",
                "signature_name": "any_length",
                "input": f"{many.uri}/in/",
                "output": f"{many.uri}/far/",
            }
            answer = requests.post(far.url, json=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    assert reported(answer.json()) == NAMES
