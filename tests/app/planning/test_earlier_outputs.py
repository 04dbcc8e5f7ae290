"""What is in the outputs' places is found by one request, or by one for their names."""

from collections.abc import Iterator

import pytest

from app.config.job_spec import JobSpec, parse_job_spec
from app.planning.earlier_outputs import look_for_outputs
from app.storage import Connections, Location, Storage
from tests.fakes.buckets import Bucket
from tests.fakes.cloud_storage import CloudStorage
from tests.faults.storage_proxy import storage_proxy

PAGE = 5


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with storage_proxy(CloudStorage(page_size=PAGE)) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield Bucket(proxy.url, "places")


def spec(*inputs: str, **changes: object) -> JobSpec:
    return parse_job_spec(
        {
            "model": "gs://places/model/",
            "input": [f"gs://places/{one}" for one in inputs],
            "output": "gs://places/out/",
            **changes,
        }
    )


def place(name: str) -> Location:
    return Location("gs", "places", f"out/{name}")


@pytest.mark.parametrize(
    ("inputs", "changes", "beginning"),
    [
        (["in/a.jsonl"], {}, "out/a.jsonl"),
        (["in/a.jsonl.gz"], {}, "out/a.jsonl"),
        (["in/"], {}, "out/"),
        (["in/2026-*.csv"], {}, "out/2026-"),
        (["in/2026-01.csv", "other/2026-02.csv"], {}, "out/2026-0"),
        (["in/a.jsonl"], {"input_format": "file"}, "out/"),
    ],
)
def test_parameters_tell_what_outputs_begin_with(
    inputs: list[str], changes: dict[str, object], beginning: str, outputs: Bucket
) -> None:
    del outputs
    found = look_for_outputs(spec(*inputs, **changes), Storage(connections=Connections(None)))
    assert found.beginning.path == beginning


@pytest.mark.parametrize(("others", "more_lists"), [(PAGE - 2, 0), (PAGE, 1)])
def test_one_page_tells_all_or_the_names_are_asked_for(
    others: int, more_lists: int, outputs: Bucket
) -> None:
    """An output folder may hold the files of many other jobs."""
    storage = Storage(connections=Connections(None))
    for number in range(others):
        outputs.put(f"out/b{number}", "other")
    outputs.put("out/a.jsonl", "mine")
    found = look_for_outputs(spec("in/"), storage)
    there = found.at([place("a.jsonl"), place("a.jsonl.errors.jsonl")], storage)
    assert list(there) == [place("a.jsonl")]
    assert storage.requests() == {"list": 1 + more_lists}


def test_a_name_that_begins_otherwise_is_asked_for(outputs: Bucket) -> None:
    """`*.g*` matches a gzipped input, whose output has no such name."""
    storage = Storage(connections=Connections(None))
    outputs.put("out/a", "mine")
    found = look_for_outputs(spec("in/a.g*"), storage)
    assert found.at([place("a")], storage).keys() == {place("a")}
