"""Every row of the table of faults, in one service after the other."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from app.framing.tfrecord import frame
from tests.faults.disturbances import (
    answers,
    damages_answer,
    damages_upload,
    resets_after,
    resets_before,
    truncates,
)
from tests.faults.matching import DESCRIBING, LAST_CHUNK, once
from tests.faults.promise import Fault, run
from tests.faults.soak import MOST_GROWTH_OF_A_SHORT_RUN, WARM_UP_JOBS, soak
from tests.faults.storage_proxy import Disturbance, Request, Rule
from tests.faults.table import FAULTS
from tests.faults.world import FLOATS, ROWS, World, put_inputs, row, world


@pytest.fixture(scope="session")
def everything(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(models, tmp_path_factory.mktemp("faults")) as everything:
        yield everything


@pytest.fixture(scope="session")
def undisturbed(everything: World) -> dict[str, bytes]:
    """The outputs of a job to which nothing happens."""
    everything.clear()
    assert everything.call().status_code == 200
    return everything.outputs()


def test_there_are_enough_faults_and_no_two_are_the_same() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 60


@pytest.mark.readme("retries", "call time-out", "partial output", "resume after a failure")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_promise_holds(fault: Fault, everything: World, undisturbed: dict[str, bytes]) -> None:
    run(fault, everything, undisturbed)


@pytest.mark.parametrize("matches", [LAST_CHUNK, DESCRIBING], ids=["last chunk", "describing"])
@pytest.mark.parametrize("disturb", [resets_before, resets_after, answers(503)])
def test_bad_rows_survive_broken_upload(
    matches: Callable[[Request], bool], disturb: Disturbance, everything: World
) -> None:
    """Bad rows appear with their predictions though the upload breaks."""
    everything.clear()
    lines = [row(number) for number in range(ROWS)]
    for bad in (0, 7, ROWS // 2, ROWS - 1):
        lines[bad] = f"bad {bad}"
    everything.bucket.put("in/b.jsonl", "\n".join(lines))
    try:
        assert everything.call(on_error="skip").json()["errors"] == 4
        expected = everything.outputs()
        assert len(expected["b.jsonl.errors.jsonl"].splitlines()) == 4
        for with_old_outputs in (False, True):
            if not with_old_outputs:
                everything.clear()
            everything.proxy.rules.append(Rule(once(matches), disturb))
            answer = everything.call(on_error="skip", force=True)
            assert answer.status_code == 200, answer.text
            assert everything.proxy.hits()
            everything.proxy.calm_down()
            assert everything.outputs() == expected
        again = everything.call(on_error="skip").json()
        assert {file["state"] for file in again["files"]} == {"REUSED"}
        assert everything.leftovers() == []
        # Where it does not pass, neither file is there, unless they lack nothing but their counts.
        everything.clear()
        everything.proxy.rules.append(Rule(matches, answers(410)))
        answer = everything.call(on_error="skip")
        if matches is LAST_CHUNK:
            assert answer.status_code == 502
            assert "a.jsonl" in everything.outputs()
            assert "b.jsonl" not in everything.outputs()
            assert "b.jsonl.errors.jsonl" not in everything.outputs()
        else:
            assert answer.status_code == 200
            assert everything.outputs() == expected
            everything.proxy.calm_down()
            again = everything.call(on_error="skip").json()
            assert {file["state"] for file in again["files"]} == {"REUSED"}
            assert again["errors"] == 4
    finally:
        put_inputs(everything.bucket, "b.jsonl")


def _table() -> bytes:
    header = ",".join(f"column {number}" for number in range(FLOATS))
    return (header + "\n" + "".join(f"{row(n)[1:-1]}\n" for n in range(ROWS))).encode()


def _records() -> bytes:
    random = Random(5)
    return b"".join(frame(random.randbytes(2000)) for _ in range(ROWS))


def _is_read(request: Request) -> bool:
    return request.operation == "read" and request.name.startswith("formats/")


def _is_sent(request: Request) -> bool:
    return request.operation in ("chunk", "insert")


@pytest.mark.parametrize(
    ("source", "make", "options", "faults"),
    [
        (
            "t.csv.gz",
            lambda: gzip.compress(_table()),
            {},
            [(_is_read, damages_answer(0.5)), (_is_sent, resets_after)],
        ),
        (
            "t.tfrecord",
            _records,
            {"signature_name": "only_bytes", "output_compression": "gzip"},
            [(_is_read, truncates(0.5)), (_is_sent, damages_upload)],
        ),
    ],
    ids=["csv.gz", "tfrecord to gzip"],
)
def test_the_promise_holds_for_other_formats(
    source: str,
    make: Callable[[], bytes],
    options: dict[str, str],
    faults: list[tuple[Callable[[Request], bool], Disturbance]],
    everything: World,
) -> None:
    everything.clear()
    everything.bucket.put(f"formats/{source}", make())
    options = {"input": f"{everything.bucket.uri}/formats/{source}", **options}
    answer = everything.call(**options)
    assert answer.json()["predictions"] == ROWS, answer.text
    expected = everything.outputs()

    for matches, disturb in faults:
        everything.clear()
        everything.proxy.rules.append(Rule(once(matches), disturb))
        everything.order({"what": "dies", "at": 2})
        answer = everything.call(**options)
        assert everything.proxy.hits()
        assert answer.status_code == 200, answer.text
        assert everything.outputs() == expected
        everything.proxy.calm_down()
        (file,) = everything.call(**options).json()["files"]
        assert file["state"] == "REUSED"
        assert everything.leftovers() == []


@pytest.mark.parametrize("what", ["dies", "hangs"])
def test_groups_of_rows_survive_servers(what: str, everything: World) -> None:
    """Several groups of one batch are in flight when a server dies."""
    everything.clear()
    rows = [[float(n)] * (1 + n % 7) for n in range(300)]
    everything.bucket.put("formats/shapes.jsonl", "".join(f"{row}\n" for row in rows))
    # The second server goes wrong long after the calls that the first one lost: a call on which
    # both do is a poison batch.
    everything.order({"what": what, "at": 4}, {"what": what, "at": 30})
    answer = everything.call(input=f"{everything.bucket.uri}/formats/shapes.jsonl")
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == 300
    text = everything.outputs()["shapes.jsonl"].decode()
    assert [json.loads(line) for line in text.splitlines()] == rows


@pytest.mark.timeout(300)
def test_a_worker_gathers_nothing(everything: World, undisturbed: dict[str, bytes]) -> None:
    result = soak(everything, undisturbed, jobs=WARM_UP_JOBS * 2)
    assert result.is_steady(MOST_GROWTH_OF_A_SHORT_RUN), result


def test_no_address_of_an_upload_was_logged(models: Path, tmp_path: Path) -> None:
    with world(models, tmp_path, {"LOG_LEVEL": "DEBUG"}) as talkative:
        for disturb in (resets_after, answers(410), answers(503)):
            is_chunk = once(lambda request: request.operation == "chunk")
            talkative.proxy.rules.append(Rule(is_chunk, disturb))
        answer = talkative.call()
        assert answer.status_code == 200, talkative.service.output()
        output = talkative.service.output()
    assert '"severity":"DEBUG"' in output
    assert "the file is begun again" in output
    assert "upload_id" not in output
