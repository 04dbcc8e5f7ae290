"""Large objects are read in parallel ranges where one stream keeps their reader waiting."""

import random
import re
import threading
from collections.abc import Iterator

import pytest

from app.concurrency.deadline import Deadline
from app.errors import Aborted, TransferBroken
from app.storage import Connections, Storage, StoredFile, TransferLimits, parse_location
from tests.fakes.buckets import Bucket
from tests.fakes.cloud_storage import CloudStorage
from tests.faults.disturbances import answers, damages_answer, does_first, resets_before, truncates
from tests.faults.storage_proxy import Request, Rule, StorageProxy, storage_proxy

SIZE = 20 * 1024 * 1024 + 7
CONTENT = random.Random(3).randbytes(SIZE)


@pytest.fixture(scope="module")
def proxy() -> Iterator[StorageProxy]:
    with storage_proxy(CloudStorage()) as proxy_of_this_file:
        yield proxy_of_this_file


@pytest.fixture(scope="module")
def large(proxy: StorageProxy) -> Bucket:
    bucket = Bucket(proxy.url, "large")
    bucket.put("object", CONTENT)
    return bucket


@pytest.fixture
def storage(proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    proxy.calm_down()
    return Storage(
        connections=Connections(None),
        deadline=Deadline.after(60),
        limits=TransferLimits(retry_seconds=10),
    )


@pytest.fixture
def file(storage: Storage, large: Bucket) -> StoredFile:
    found = storage.find(parse_location(f"{large.uri}/object", parameter="test"))
    assert found is not None
    return found


def reads(proxy: StorageProxy) -> list[Request]:
    return [request for request in proxy.requests if request.operation == "read"]


def in_the_middle(request: Request) -> bool:
    return request.operation == "read" and request.count == 7


def test_a_reader_that_waits_gets_ranges_at_once(
    storage: Storage, file: StoredFile, proxy: StorageProxy
) -> None:
    """Several ranges are asked for before the first of them is answered."""
    together = threading.Barrier(4, timeout=10)
    proxy.rules.append(
        Rule(lambda one: one.operation == "read" and 1 <= one.count <= 4, does_first(together.wait))
    )
    assert b"".join(storage.read(file)) == CONTENT
    assert proxy.hits() == 4
    assert storage.requests()["read"] == len(reads(proxy)) > 5


def test_a_reader_that_is_slow_gets_one_stream(
    storage: Storage, file: StoredFile, proxy: StorageProxy
) -> None:
    blocks = []
    for block in storage.read(file):
        blocks.append(block)
        threading.Event().wait(0.1)
    assert b"".join(blocks) == CONTENT
    # Each request asks for more than the one before: 4, 8 and the last 8 MiB.
    assert len(reads(proxy)) == 3


@pytest.mark.parametrize("disturb", [answers(503), resets_before, truncates(0.3)])
def test_a_range_that_breaks_off_goes_on(
    disturb: object, storage: Storage, file: StoredFile, proxy: StorageProxy
) -> None:
    proxy.rules.append(Rule(in_the_middle, disturb))  # type: ignore[arg-type]  # one of three kinds
    assert b"".join(storage.read(file)) == CONTENT
    assert proxy.hits() == 1


def test_damage_in_one_range_is_found(
    storage: Storage, file: StoredFile, proxy: StorageProxy
) -> None:
    proxy.rules.append(Rule(in_the_middle, damages_answer(0.5)))
    with pytest.raises(TransferBroken, match=re.escape("its crc32c is")):
        for _ in storage.read(file):
            pass


def test_all_ranges_are_of_one_generation(
    storage: Storage, file: StoredFile, proxy: StorageProxy, large: Bucket
) -> None:
    replace = does_first(lambda: large.put("object", CONTENT[::-1]))
    proxy.rules.append(Rule(in_the_middle, replace))
    try:
        with pytest.raises(Aborted, match="replaced since the job began"):
            for _ in storage.read(file):
                pass
    finally:
        large.put("object", CONTENT)
