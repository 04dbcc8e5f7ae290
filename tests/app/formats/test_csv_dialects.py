"""Tables without a header, and tables with other delimiters."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.config.file_format import CsvDialect, delimiter_of_name, format_of_name
from app.config.job_spec import InstanceFields, parse_job_spec
from app.errors import InvalidArgument, UnsupportedInput
from app.formats.context import ReaderContext
from app.formats.csv import CsvReader
from tests.app.formats.test_formats import FLOAT, STRING, Read, read, signature
from tfserving_launcher import TensorSpec

PAIR = TensorSpec(np.dtype(np.float32), (None, 2))
IMAGE = TensorSpec(np.dtype(np.float32), (None, 2, 2))
DELIMITERS = [",", ";", "\t", "|", ":", " "]


def table(
    text: str,
    dialect: CsvDialect,
    fields: InstanceFields | None = None,
    rows: int = 100,
    /,
    **inputs: TensorSpec,
) -> Read:
    return read(
        text.encode(),
        lambda faults: CsvReader(
            ReaderContext(
                file="f",
                signature=signature(**inputs),
                fields=fields or InstanceFields(),
                on_row_error=faults,
                max_line_bytes=1000,
                dialect=dialect,
            ),
            instance_as_columns=False,
        ),
        rows=rows,
    )


def refusal(
    text: str,
    dialect: CsvDialect,
    fields: InstanceFields | None = None,
    /,
    **inputs: TensorSpec,
) -> str:
    with pytest.raises(UnsupportedInput) as caught:
        table(text, dialect, fields, **inputs)
    return caught.value.message


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "-1.5,1e3\n", " 7 , .5\n", "0,1\n"])
def test_a_first_row_of_numbers_is_no_header(text: str) -> None:
    message = refusal(text, CsvDialect(), x=PAIR)
    assert "csv_header=false takes it as data, csv_header=true as names" in message


@pytest.mark.parametrize("text", ["a,1\n3,4\n", ",2\n3,4\n", "nan,nan.1\n3,4\n"])
def test_a_first_row_with_a_name_is_a_header(text: str) -> None:
    tensors, _, errors = table(text, CsvDialect(), x=PAIR)
    assert (tensors["x"], errors) == ([[3.0, 4.0]], [])


def test_columns_that_pandas_counts_are_a_header() -> None:
    tensors, _, _ = table("0,1,2,3\n5,6,7,8\n", CsvDialect(), x=IMAGE)
    assert tensors["x"] == [[[5, 6], [7, 8]]]


def test_numbers_are_a_header_where_the_call_says_so() -> None:
    tensors, _, _ = table("1,2\n3,4\n", CsvDialect(has_header=True), x=PAIR)
    assert tensors["x"] == [[3, 4]]


@pytest.mark.parametrize(
    "inputs", [{"x": PAIR}, {"a": FLOAT, "b": FLOAT}, {"b": FLOAT, "a": FLOAT}]
)
def test_columns_without_a_header_are_taken_in_order(inputs: dict[str, TensorSpec]) -> None:
    tensors, _, errors = table("1,2\n3,x\n5,6\n", CsvDialect(has_header=False), **inputs)
    (error,) = errors
    assert error["row"] == 2
    if "x" in inputs:
        assert tensors["x"] == [[1, 2], [5, 6]]
        assert "field 2: expected a number" in error["error"]["message"]
    else:
        assert tensors == {"a": [1, 5], "b": [2, 6]}


def test_first_row_counts_though_blank_lines_and_a_bad_row_come_before() -> None:
    tensors, _, errors = table('\n"1,2\n3",\n1,2\n3,4\n', CsvDialect(has_header=False), x=PAIR)
    assert tensors["x"] == [[1, 2], [3, 4]]
    assert len(errors) == 1


def test_columns_without_a_header_are_called_by_their_numbers() -> None:
    fields = InstanceFields(key="1", excluded=("3",))
    tensors, beside, _ = table("k,1,z,2\n", CsvDialect(has_header=False), fields, x=PAIR)
    assert tensors["x"] == [[1, 2]]
    assert beside == [(b'"k"',)]
    swapped = InstanceFields(included=("2", "1"))
    tensors, _, _ = table("1,2\n", CsvDialect(has_header=False), swapped, x=PAIR)
    assert tensors["x"] == [[2, 1]]


def test_wrong_number_of_columns_without_a_header_names_the_order() -> None:
    message = refusal("1,2,3\n", CsvDialect(has_header=False), b=FLOAT, a=STRING)
    assert "takes 2 columns, in this order: a, b; the table has 3" in message
    message = refusal("1,2,3\n", CsvDialect(has_header=False), x=PAIR)
    assert "which takes 2 columns, and the table has 3 for it" in message


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("header", [["n", "s"], None])
def test_each_delimiter_gives_the_same_rows(
    delimiter: str, quoting: int, header: list[object] | None
) -> None:
    rows: list[list[object]] = [[1, "a,b"], [2.5, f'c{delimiter}"d"'], [-3, "e;\nf"], [4, ""]]
    text = io.StringIO()
    writer: Any = csv.writer(text, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]  # any of the module's constants
    writer.writerows([header, *rows] if header else rows)
    dialect = CsvDialect(delimiter, None if header else False)
    for size in (1, 100):
        tensors, _, errors = table(text.getvalue(), dialect, None, size, n=FLOAT, s=STRING)
        assert errors == []
        assert tensors["n"] == [row[0] for row in rows]
        assert tensors["s"] == [str(row[1]).encode() for row in rows]


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_rows_of_numbers_take_each_delimiter(delimiter: str) -> None:
    text = f"a{delimiter}b\n1{delimiter}2.5\n-3{delimiter}1e2\n"
    tensors, _, errors = table(text, CsvDialect(delimiter), x=PAIR)
    assert (tensors["x"], errors) == ([[1, 2.5], [-3, 100]], [])


def test_a_decimal_comma_is_a_bad_row() -> None:
    tensors, _, errors = table("a;b\n1,5;2\n3;4\n", CsvDialect(";"), x=PAIR)
    assert tensors["x"] == [[3, 4]]
    assert "field a: expected a number" in errors[0]["error"]["message"]


@pytest.mark.parametrize(("delimiter", "name"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_delimiter_is_suggested(delimiter: str, name: str) -> None:
    message = refusal(f"a{delimiter}b\n1{delimiter}2\n", CsvDialect(), x=PAIR)
    assert f"csv_delimiter={name} says so" in message


def test_names_tell_tables_with_tabs() -> None:
    for name in ("a.tsv", "a.TSV.gz", "a.tsv-00000-of-00002"):
        assert (format_of_name(name), delimiter_of_name(name)) == ("csv", "\t")
    assert delimiter_of_name("a.csv") == ","


@pytest.mark.parametrize(("given", "taken"), [(";", ";"), ("\t", "\t"), ("tab", "\t"), ("", None)])
def test_delimiters_are_one_character(given: str, taken: str | None) -> None:
    spec = parse_job_spec(_parameters(csv_delimiter=given))
    assert spec.csv_delimiter == taken


@pytest.mark.parametrize("given", [";;", '"', "\n", "a", "7", "é"])
def test_other_delimiters_are_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match="csv_delimiter must be tab, or one ASCII"):
        parse_job_spec(_parameters(csv_delimiter=given))


def _parameters(**changes: str) -> dict[str, str]:
    root = Path("/nowhere")
    return {"model": f"{root}/m", "input": f"{root}/i", "output": f"{root}/o", **changes}
