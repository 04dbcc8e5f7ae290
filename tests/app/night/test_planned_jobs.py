"""Manifests and templates become jobs, or are told all that is wrong with them."""

from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import InvalidArgument, NotFound
from app.night.planned_jobs import (
    InvalidPlan,
    PlannedJob,
    Template,
    expand_template,
    jobs_of_manifest,
    load_manifest,
)
from app.storage import Storage, parse_location

DAY = date(2026, 3, 1)


@pytest.fixture
def storage() -> Storage:
    return Storage(local_roots=None)


def read(path: Path, text: str, storage: Storage, **parameters: Any) -> list[PlannedJob]:
    path.write_text(text)
    location = parse_location(str(path), parameter="p")
    return jobs_of_manifest(load_manifest(location, storage), location, parameters, DAY)


def line(**changes: Any) -> str:
    places = {"model": "gs://bkt/m/a/1/", "input": "gs://bkt/{date}/a", "output": "gs://bkt/o/"}
    return orjson.dumps({**places, **changes}).decode() + "\n"


def test_each_line_is_a_job(storage: Storage, tmp_path: Path) -> None:
    text = (
        line() + "\n" + line(name="b", on_error="skip", input=["gs://bkt/{date-1}/b", "gs://bkt/c"])
    )
    first, second = read(tmp_path / "night.jsonl", text, storage, on_error="fail", batch_size=7)
    assert (first.name, second.name) == ("a", "b")
    assert (first.spec.on_error, second.spec.on_error) == ("fail", "skip")
    assert first.spec.batch_size == second.spec.batch_size == 7
    assert list(map(str, first.spec.inputs)) == ["gs://bkt/2026-03-01/a"]
    assert list(map(str, second.spec.inputs)) == ["gs://bkt/2026-02-28/b", "gs://bkt/c"]


def test_a_table_is_a_manifest(storage: Storage, tmp_path: Path) -> None:
    text = "name,model,input,output,key_field\na,gs://bkt/m/,gs://bkt/i,gs://bkt/o/,\n"
    text += '"b, c",gs://bkt/n/,gs://bkt/i,gs://bkt/p/,id\n'
    first, second = read(tmp_path / "night.csv", text, storage)
    assert (first.name, second.name) == ("a", "b, c")
    assert (first.spec.fields.key, second.spec.fields.key) == (None, "id")


def test_all_that_is_wrong_is_told_at_once(storage: Storage, tmp_path: Path) -> None:
    text = line(name="a") + line(surprise=1, name="b") + "no json\n" + "[1]\n" + line(name=7)
    text += line(name="a") + line(input="gs://bkt/{week}")
    with pytest.raises(InvalidPlan) as raised:
        read(tmp_path / "night.jsonl", text, storage)
    problems = raised.value.details["problems"]
    assert [problem.partition(":")[0] for problem in problems[:5]] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
        "line 7",
    ]
    assert "unknown parameter 'surprise'" in problems[0]
    assert "{week}" in problems[4]
    assert "two jobs are called 'a'" in problems[5]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "", "names no jobs"),
        ("a.csv", "model,input,output\na,b,c,d\n", "more cells than the header has"),
        ("a.csv", "model,input\ngs://bkt/m/,gs://bkt/i\n", "missing parameter: output"),
    ],
)
def test_other_files_are_no_manifests(
    name: str, text: str, words: str, storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(InvalidPlan, match=words):
        read(tmp_path / name, text, storage)


def test_an_absent_manifest_is_not_found(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_manifest(parse_location(f"{tmp_path}/no", parameter="p"), storage)


def expand(tmp_path: Path, storage: Storage, models: str = "m/*/") -> list[PlannedJob]:
    template = Template(
        models=f"{tmp_path}/{models}",
        inputs=(f"{tmp_path}/in/{{name}}/{{date}}/",),
        output=f"{tmp_path}/out/{{date}}/{{name}}/",
    )
    return expand_template(template, {"on_error": "skip"}, DAY, storage)


def make(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_each_folder_is_a_job(storage: Storage, tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "_hidden"):
        make(tmp_path / "m" / name / "1" / "saved_model.pb")
    make(tmp_path / "m" / "no-folder")
    make(tmp_path / "m" / "b" / "embedded-tf.json", '{"batch_size": 3, "on_error": "fail"}')
    first, second = expand(tmp_path, storage)
    assert (first.name, second.name) == ("a", "b")
    assert str(first.spec.model) == f"{tmp_path}/m/a/"
    assert list(map(str, first.spec.inputs)) == [f"{tmp_path}/in/a/2026-03-01/"]
    assert str(second.spec.output) == f"{tmp_path}/out/2026-03-01/b/"
    assert (first.spec.on_error, first.spec.batch_size) == ("skip", None)
    assert (second.spec.on_error, second.spec.batch_size) == ("fail", 3)


def test_the_star_may_be_inside(storage: Storage, tmp_path: Path) -> None:
    make(tmp_path / "m" / "a" / "export" / "1" / "saved_model.pb")
    make(tmp_path / "m" / "b" / "other" / "1" / "saved_model.pb")
    (only,) = expand(tmp_path, storage, "m/*/export/")
    assert (only.name, str(only.spec.model)) == ("a", f"{tmp_path}/m/a/export/")


@pytest.mark.parametrize("content", ["no json", "[]", '{"model": "gs://bkt/m/"}', '{"x": 1}'])
def test_a_models_own_parameters_may_be_wrong(
    content: str, storage: Storage, tmp_path: Path
) -> None:
    make(tmp_path / "m" / "a" / "1" / "saved_model.pb")
    make(tmp_path / "m" / "a" / "embedded-tf.json", content)
    with pytest.raises(InvalidPlan, match="a: "):
        expand(tmp_path, storage)


@pytest.mark.parametrize("models", ["m/", "m/*/*/", "m/a*/", "*"])
def test_other_templates_are_refused(models: str, storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="one star"):
        expand(tmp_path, storage, models)


def test_no_folders_are_not_found(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(NotFound, match="there are no folders"):
        expand(tmp_path, storage)


def test_a_name_stands_in_the_lines_of_a_manifest(storage: Storage, tmp_path: Path) -> None:
    text = line(name="b", input="gs://bkt/{name}/{date}", output="gs://bkt/o/{name}/")
    (job,) = read(tmp_path / "night.jsonl", text, storage)
    assert list(map(str, job.spec.inputs)) == ["gs://bkt/b/2026-03-01"]
    assert str(job.spec.output) == "gs://bkt/o/b/"


def test_lines_end_with_line_feeds_alone(storage: Storage, tmp_path: Path) -> None:
    (job,) = read(tmp_path / "night.jsonl", line(name="a\u2028b"), storage)
    assert job.name == "a\u2028b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name,model,input,output\n"a,gs://bkt/m/,gs://bkt/i,gs://bkt/o/\nb,c,d,e\n', "no csv"),
        ("name,model,model\na,gs://bkt/m/,x\n", "'model' more than once"),
        ("name,model,\na,gs://bkt/m/,\n", "more than once, or empty"),
        (
            "name,model\n" + "x" * 200_000 + ",y\n",
            "larger than field|at most 500",
        ),
    ],
)
def test_tables_that_could_be_misread_are_refused(
    text: str, words: str, storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(InvalidPlan, match=words):
        read(tmp_path / "night.csv", text, storage)


def test_there_are_days_before_the_first_one(storage: Storage, tmp_path: Path) -> None:
    manifest = tmp_path / "night.jsonl"
    manifest.write_text(line(input="gs://bkt/{date-1}"))
    location = parse_location(str(manifest), parameter="p")
    with pytest.raises(InvalidPlan, match="no day {date-1} before 0001-01-01"):
        jobs_of_manifest(load_manifest(location, storage), location, {}, date(1, 1, 1))


def test_folders_may_have_braces_and_no_wildcards(storage: Storage, tmp_path: Path) -> None:
    make(tmp_path / "m" / "{date}" / "1" / "saved_model.pb")
    (job,) = expand(tmp_path, storage)
    assert str(job.spec.model) == f"{tmp_path}/m/{{date}}/"
    make(tmp_path / "m" / "a*" / "1" / "saved_model.pb")
    with pytest.raises(InvalidPlan, match="must not have"):
        expand(tmp_path, storage)
