"""Which inputs a job takes, and what it calls their outputs."""

from pathlib import Path

import pytest

from app.config.job_spec import parse_job_spec
from app.storage import Storage
from tests.fakes.buckets import Bucket
from tests.fakes.processes import RunningService
from tests.fakes.tasks import planned
from tests.integration.test_formats import Formats, error_of, report_of

ROW = "[1,2,3,4]\n"


@pytest.fixture
def storage(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    return Storage()


@pytest.fixture(scope="module")
def days(bucket: Bucket) -> str:
    for day in ("2026-11-19", "2026-11-20", "2026-12-01"):
        for site in ("a", "b/c"):
            bucket.put(f"days/{day}/{site}.jsonl", ROW)
    bucket.put("days/2026-11-20.jsonl", ROW)
    return "days"


@pytest.mark.readme("selecting inputs", "output naming")
@pytest.mark.parametrize(
    ("sources", "outputs"),
    [
        (["2026-11-*/a.jsonl"], ["2026-11-19/a.jsonl", "2026-11-20/a.jsonl"]),
        (["2026-1?-01/**"], ["2026-12-01/a.jsonl", "2026-12-01/b/c.jsonl"]),
        (["**/c.jsonl"], [f"2026-{day}/b/c.jsonl" for day in ("11-19", "11-20", "12-01")]),
        (["2026-11-2*"], ["2026-11-20.jsonl"]),
        (["2026-12-*/"], ["2026-12-01/a.jsonl", "2026-12-01/b/c.jsonl"]),
        (["2026-12-01/", "2026-11-20.jsonl"], ["2026-11-20.jsonl", "a.jsonl", "b/c.jsonl"]),
        # Only the first of two that match it says where an output goes.
        (["2026-12-*/a.jsonl", "2026-12-01/a.jsonl"], ["2026-12-01/a.jsonl"]),
        (["2026-11-20.jsonl"], ["2026-11-20.jsonl"]),
    ],
)
def test_inputs_repeat_and_hold_wildcards(
    sources: list[str], outputs: list[str], days: str, bucket: Bucket, storage: Storage
) -> None:
    spec = parse_job_spec(
        {
            "model": f"{bucket.uri}/models/formats/",
            "input": [f"{bucket.uri}/{days}/{source}" for source in sources],
            "output": f"{bucket.uri}/selected/",
        }
    )
    tasks = planned(spec, storage).tasks
    target = f"{bucket.uri}/selected/"
    assert sorted(task.output.path.removeprefix("selected/") for task in tasks) == outputs
    assert all(str(task.output).startswith(target) for task in tasks)


@pytest.mark.readme("output naming")
@pytest.mark.parametrize(
    ("name", "options", "output", "gzipped"),
    [
        ("r.csv", {}, "r.csv.jsonl", False),
        ("r.csv", {"output_format": "csv"}, "r.csv", False),
        ("e.tfrecord.gz", {}, "e.tfrecord.jsonl.gz", True),
        ("e.tfrecord-00000-of-00010.gz", {}, "e.tfrecord-00000-of-00010.jsonl.gz", True),
        ("r.jsonl.gz", {}, "r.jsonl.gz", True),
        ("r.jsonl.gz", {"output_compression": "none"}, "r.jsonl", False),
        ("r.jsonl", {"output_compression": "gzip"}, "r.jsonl.gz", True),
        ("q.txt", {}, "q.txt.jsonl", False),
        ("q.txt", {"input_format": "jsonl"}, "q.txt", False),
        ("part-00000", {}, "part-00000", False),
        ("r.jsonl.GZ", {}, "r.jsonl.GZ", False),
        ("data_tfrecord-00000-of-00012.gz", {}, "data_tfrecord-00000-of-00012.jsonl.gz", True),
        ("tfrecord-0-of-2", {}, "tfrecord-0-of-2.jsonl", False),
        ("e.tfr", {}, "e.tfr.jsonl", False),
        ("nottfrecord-0-of-2", {}, "nottfrecord-0-of-2", False),
    ],
)
def test_output_name_has_suffix_of_new_format(
    name: str, options: dict[str, str], output: str, *, gzipped: bool, tmp_path: Path
) -> None:
    """An output is called as its input with the suffix of another format."""
    (tmp_path / name).write_text("")
    places = {"model": "/m/", "input": f"{tmp_path}/{name}", "output": f"{tmp_path}/out/"}
    spec = parse_job_spec({**places, **options})
    (task,) = planned(spec, Storage()).tasks
    assert task.output.path == f"{tmp_path}/out/{output}"
    assert task.errors_output.path == f"{tmp_path}/out/{output}.errors.jsonl"
    assert task.gzip_output is gzipped


@pytest.mark.readme("selecting inputs")
@pytest.mark.parametrize(
    ("sources", "code", "words"),
    [
        (["days/2026-11-2"], 404, "no such object or file"),
        (["days/2026-11-20.json"], 404, "no such object or file"),
        (["days/2026-12-01/", "days/*.csv"], 404, "nothing matches"),
        (
            ["days/2026-11-19/a.jsonl", "days/2026-11-20/a.jsonl"],
            400,
            "is another output of this job and would be overwritten",
        ),
        (
            ["days/2026-12-01/a.jsonl", "clashing/a.csv", "clashing/a.csv.jsonl"],
            400,
            "another output",
        ),
    ],
)
def test_nothing_runs_on_missing_inputs_or_clashes(
    sources: list[str], code: int, words: str, days: str, formats: Formats, bucket: Bucket
) -> None:
    """Nothing runs where inputs are not there or outputs would clash."""
    assert days
    bucket.put("clashing/a.csv", "a,b,c,d\n1,2,3,4\n")
    bucket.put("clashing/a.csv.jsonl", ROW)
    failed = error_of(formats(sources, "never/"), code)
    assert words in failed["message"]
    assert bucket.names("never/") == []


def test_inputs_may_be_repeated_in_a_url(
    formats: Formats, bucket: Bucket, service: RunningService
) -> None:
    import requests

    del formats
    bucket.put("repeated/a.jsonl", ROW)
    bucket.put("repeated/b.jsonl", ROW)
    parameters = {
        "model": f"{bucket.uri}/models/formats/",
        "input": [f"{bucket.uri}/repeated/{name}.jsonl" for name in "ab"],
        "output": f"{bucket.uri}/repeated-out/",
    }
    report = report_of(requests.get(service.url, params=parameters, timeout=50))
    assert report["inputs"] == parameters["input"]
    assert bucket.names("repeated-out/") == ["repeated-out/a.jsonl", "repeated-out/b.jsonl"]
