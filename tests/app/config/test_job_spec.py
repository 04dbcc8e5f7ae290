from collections.abc import Callable
from pathlib import Path

import pytest

from app.config.job_spec import JobSpec, parse_job_spec
from app.errors import InvalidArgument
from app.storage import Location

GOOD = {"model": "gs://bkt/m", "input": "gs://bkt/in/", "output": "gs://bkt/out"}


def test_the_required_parameters_make_a_job() -> None:
    assert parse_job_spec(GOOD) == JobSpec(
        model=Location("gs", "bkt", "m/"),
        inputs=(Location("gs", "bkt", "in/"),),
        output=Location("gs", "bkt", "out/"),
        signature_name=None,
        batch_size=None,
        timeout_seconds=None,
    )


def test_values_are_url_text_or_json_types() -> None:
    """Values may be text as in a url or typed as in JSON."""
    text = {"batch_size": "32", "timeout_seconds": "1.5", "signature_name": "other"}
    typed = {"batch_size": 32, "timeout_seconds": 1.5, "signature_name": "other"}
    assert parse_job_spec({**GOOD, **text}) == parse_job_spec({**GOOD, **typed})
    assert parse_job_spec({**GOOD, **typed}).batch_size == 32


@pytest.mark.parametrize("name", ["model", "input", "output"])
@pytest.mark.parametrize("change", [lambda d, n: d.pop(n), lambda d, n: d.update({n: ""})])
def test_a_missing_parameter_is_named(
    name: str, change: Callable[[dict[str, str], str], object]
) -> None:
    parameters = dict(GOOD)
    change(parameters, name)
    with pytest.raises(InvalidArgument, match=f"missing parameter: {name}") as caught:
        parse_job_spec(parameters)
    assert caught.value.details == {"parameters": [name]}


@pytest.mark.parametrize("value", ["", [], [""], ["", ""]])
def test_an_input_of_nothing_is_missing(value: object) -> None:
    with pytest.raises(InvalidArgument, match="missing parameter: input"):
        parse_job_spec({**GOOD, "input": value})


def test_unknown_name_is_refused_known_are_listed() -> None:
    """An unknown name is refused and the known ones are listed."""
    with pytest.raises(InvalidArgument, match="unknown parameter 'modle'; known are model, input"):
        parse_job_spec({**GOOD, "modle": "x"})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("batch_size", "0", "whole number of rows above 0, it is '0'"),
        ("batch_size", "1.5", "whole number"),
        ("batch_size", 1.0, "whole number"),
        ("batch_size", True, "whole number"),
        ("batch_size", "-3", "whole number"),
        ("batch_size", "٣", "whole number"),
        ("batch_size", "9" * 5000, "whole number"),
        ("input", "file:///a%00b", "control characters"),
        ("timeout_seconds", "soon", "number of seconds above 0, it is 'soon'"),
        ("timeout_seconds", "-1", "seconds above 0"),
        ("timeout_seconds", "inf", "seconds above 0"),
        ("timeout_seconds", "nan", "seconds above 0"),
        ("timeout_seconds", [1], "seconds above 0"),
        ("signature_name", 7, "a string, it is '7'"),
        ("model", ["gs://a/b"], "a string"),
        ("model", "s3://bucket/m", "s3:// is neither"),
        ("model", "gs://B!/m", "no valid bucket name"),
        ("model", "gs:///m", "no valid bucket name"),
        ("input", "gs://bkt/a\nb", "control characters"),
        ("input", "file://host/path", "expected file:///path"),
        ("input", ["gs://bkt/a", 7], "a string or a list of strings"),
        ("input", {"a": 1}, "a string or a list of strings"),
        ("included_fields", 7, "a string or a list of strings"),
        ("included_fields", ["a", 7], "a string or a list of strings"),
        ("excluded_fields", 'a,"b', "names separated by commas"),
        ("excluded_fields", '"a"b', "names separated by commas"),
        ("include_instance", "yes", "true or false, it is 'yes'"),
        ("key_field", ["a"], "a string"),
        (
            "input_format",
            "parquet",
            "jsonl, csv, tfrecord, text, file-list or file, it is 'parquet'",
        ),
        ("output_format", "tfrecord", "jsonl or csv, it is 'tfrecord'"),
        ("output_compression", "zip", "gzip or none, it is 'zip'"),
    ],
)
def test_malformed_value_is_named_with_expectation(name: str, value: object, words: str) -> None:
    """A malformed value is named with what was expected."""
    with pytest.raises(InvalidArgument, match=words) as caught:
        parse_job_spec({**GOOD, name: value})
    assert name in caught.value.message


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = parse_job_spec(
        {"model": "m", "input": "a%20b/../in/", "output": "file:///o%20ut"}, relative_paths=True
    )
    assert str(spec.model) == f"{tmp_path}/m/"
    assert str(spec.inputs[0]) == f"{tmp_path}/in/"
    assert str(spec.output) == "/o ut/"


def test_relative_paths_are_refused_over_http() -> None:
    """Relative paths are refused where they mean nothing."""
    with pytest.raises(
        InvalidArgument, match="expected a gs:// URI or an absolute path, it is 'm'"
    ):
        parse_job_spec({"model": "m", "input": "/in/", "output": "/out/"})


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("age,sex", ("age", "sex")),
        ('age,"last, first","5"" nail"', ("age", "last, first", '5" nail')),
        ("petal length, b", ("petal length", " b")),
        ('""', ("",)),
        ('a,""', ("a", "")),
        ("a,,b,", ("a", "b")),
        ("", ()),
        (["a,b", " c", ""], ("a,b", " c", "")),
        ([], ()),
    ],
)
def test_a_text_is_a_row_of_names_and_a_list_is_literal(
    given: object, names: tuple[str, ...]
) -> None:
    assert parse_job_spec({**GOOD, "excluded_fields": given}).fields.excluded == names
    assert parse_job_spec({**GOOD, "included_fields": given}).fields.included == (names or None)
