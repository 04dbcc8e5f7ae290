"""Large uploads go on where they were interrupted, and hold their preconditions."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.concurrency.deadline import Deadline
from app.errors import Aborted, TransferBroken
from app.storage import Connections, Location, Storage, StoredFile, TransferLimits, parse_location
from tests.fakes.buckets import Bucket
from tests.fakes.processes import fake_gcs_server
from tests.faults.disturbances import (
    answers,
    answers_junk,
    does_first,
    persists_part,
    resets_after,
    resets_before,
)
from tests.faults.storage_proxy import Disturbance, Rule, StorageProxy, storage_proxy

BLOCK = 512 * 1024
CONTENT = bytes(range(256)) * (BLOCK // 256 * 5 // 2)
BLOCKS = 3


@pytest.fixture(scope="module")
def proxy() -> Iterator[StorageProxy]:
    with fake_gcs_server() as url, storage_proxy(url) as proxy_of_this_file:
        yield proxy_of_this_file


@pytest.fixture(scope="module")
def uploads(proxy: StorageProxy) -> Bucket:
    return Bucket(proxy.url, "uploads")


@pytest.fixture
def storage(proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    proxy.calm_down()
    return Storage(
        connections=Connections(None),
        deadline=Deadline.after(60),
        limits=TransferLimits(retry_seconds=10, upload_chunk_bytes=BLOCK),
    )


@pytest.fixture
def name(tmp_path: Path) -> str:
    """An object's name that no other test has."""
    return tmp_path.name


def location(uploads: Bucket, name: str) -> Location:
    return parse_location(f"{uploads.uri}/{name}", parameter="test")


def upload(storage: Storage, where: Location, replacing: StoredFile | None = None) -> StoredFile:
    with storage.create(where, replacing, "writer") as writer:
        for start in range(0, len(CONTENT), 1_000_000):
            writer.write(CONTENT[start : start + 1_000_000])
        return writer.finish({"of": "this test"})


def break_block(proxy: StorageProxy, number: int, disturb: Disturbance) -> None:
    """The `number`-th block that is sent, from 0; the last one is the third."""
    proxy.rules.append(
        Rule(
            lambda request: (
                request.operation == "chunk" and request.count == number and not rule_was_hit()
            ),
            disturb,
        )
    )

    def rule_was_hit() -> bool:
        return proxy.rules[0].hits > 0


def sent(proxy: StorageProxy, operation: str) -> int:
    return sum(request.operation == operation for request in proxy.requests)


@pytest.mark.parametrize(
    ("number", "disturb"),
    [
        *((n, each) for n in range(BLOCKS) for each in (resets_before, resets_after, answers(503))),
        (BLOCKS - 1, answers_junk),
    ],
)
def test_interrupted_block_goes_on(
    number: int,
    disturb: Disturbance,
    storage: Storage,
    proxy: StorageProxy,
    uploads: Bucket,
    name: str,
) -> None:
    """Storage is asked what it has, and nothing is sent twice that it has persisted."""
    break_block(proxy, number, disturb)
    file = upload(storage, location(uploads, name))
    assert proxy.hits() == 1
    assert uploads.get(name) == CONTENT
    assert sent(proxy, "begin") == 1
    assert sent(proxy, "status") == 1
    was_persisted = disturb in (resets_after, answers_junk)
    assert sent(proxy, "chunk") == (BLOCKS if was_persisted else BLOCKS + 1)
    assert storage.find(file.location) is not None


def test_part_of_a_block_is_not_sent_again(
    storage: Storage, proxy: StorageProxy, uploads: Bucket, name: str
) -> None:
    break_block(proxy, 1, persists_part)
    upload(storage, location(uploads, name))
    assert uploads.get(name) == CONTENT
    second_block = [request for request in proxy.requests if request.operation == "chunk"][2]
    assert second_block.first_byte == BLOCK + 256 * 1024


@pytest.mark.parametrize("status", [404, 410])
def test_lost_upload_is_broken(
    status: int, storage: Storage, proxy: StorageProxy, uploads: Bucket
) -> None:
    """The caller begins the file again; nothing has appeared."""
    break_block(proxy, 1, answers(status))
    with pytest.raises(TransferBroken):
        upload(storage, location(uploads, "lost"))
    assert uploads.names("lost") == []


def test_other_writer_wins_before_the_end(
    storage: Storage, proxy: StorageProxy, uploads: Bucket
) -> None:
    """Storage refuses the last block, because the precondition fails."""
    break_block(proxy, BLOCKS - 1, does_first(lambda: uploads.put("raced", b"theirs")))
    with pytest.raises(Aborted, match="somebody else has written it"):
        upload(storage, location(uploads, "raced"))
    assert uploads.get("raced") == b"theirs"


def test_uncancellable_upload_is_not_finished(
    storage: Storage, proxy: StorageProxy, uploads: Bucket
) -> None:
    proxy.rules.append(Rule(lambda request: request.operation == "cancel", resets_before))
    with pytest.raises(ZeroDivisionError), storage.create(location(uploads, "half")) as writer:
        writer.write(CONTENT)
        raise ZeroDivisionError
    assert proxy.hits() == 2
    del writer
    gc.collect()
    assert uploads.names("half") == []


def test_replacing_what_is_gone_is_refused(storage: Storage, uploads: Bucket) -> None:
    uploads.put("replaced", b"first")
    old = storage.find(location(uploads, "replaced"))
    uploads.put("replaced", b"second")
    with pytest.raises(Aborted):
        upload(storage, location(uploads, "replaced"), old)
    assert uploads.get("replaced") == b"second"


def test_delete_spares_a_newer_object(storage: Storage, uploads: Bucket) -> None:
    uploads.put("deleted", b"first")
    old = storage.find(location(uploads, "deleted"))
    assert old is not None
    uploads.put("deleted", b"second")
    storage.delete(old)
    assert uploads.get("deleted") == b"second"
    new = storage.find(location(uploads, "deleted"))
    assert new is not None
    storage.delete(new)
    assert uploads.names("deleted") == []
