"""Readers of each format, from bytes to tensors: what jobs over HTTP would take long to show."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.config.job_spec import InstanceFields, parse_job_spec
from app.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidModel,
    PermissionDenied,
    UnsupportedInput,
)
from app.formats.context import InstanceReader, PassthroughFields, ReaderContext
from app.formats.csv import CsvReader
from app.formats.jsonl import JsonLinesReader
from app.formats.manifest import NameBudget, read_manifest
from app.formats.tfrecord import TfRecordReader
from app.formats.writers import CsvWriter
from app.framing.batches import BatchLimits, make_batches
from app.framing.gzipped import unpacked
from app.framing.tfrecord import frame
from app.job.row_errors import RowErrors, encode_row_error
from app.storage import Storage, parse_location
from tests.fakes.groups import values_of
from tests.fakes.tasks import planned
from tfserving_launcher import Signature, TensorSpec

FLOAT = TensorSpec(np.dtype(np.float32), (None,))
STRING = TensorSpec(np.dtype(object), (None,))
LISTS = TensorSpec(np.dtype(np.float32), (None, None))

Read = tuple[dict[str, list[Any]], list[tuple[bytes, ...]], list[dict[str, Any]]]


def signature(**inputs: TensorSpec) -> Signature:
    return Signature("s", "", dict(sorted(inputs.items())), {})


def opening(
    faults: RowErrors,
    of: Signature,
    fields: InstanceFields | None = None,
) -> ReaderContext:
    return ReaderContext(
        file="f",
        signature=of,
        fields=fields or InstanceFields(),
        on_row_error=faults,
        max_line_bytes=1000,
    )


def csv_reader(
    faults: RowErrors, fields: InstanceFields | None = None, /, **inputs: TensorSpec
) -> CsvReader:
    return CsvReader(opening(faults, signature(**inputs), fields), instance_as_columns=False)


def read(
    data: bytes,
    open_reader: Callable[[RowErrors], InstanceReader[Any]],
    *,
    rows: int = 100,
    block: int = 100,
) -> Read:
    """Tensors by input, what comes beside them, and the bad rows, in batches of `rows`."""
    faults = RowErrors(skip=True)
    reader = open_reader(faults)
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    tensors: dict[str, list[Any]] = {}
    beside: list[tuple[bytes, ...]] = []
    limits = BatchLimits(max_rows=rows, max_bytes=10**6)
    for batch in make_batches(reader.read(unpacked(blocks, file="f")), limits):
        instances = reader.instances(batch)
        for name, values in values_of(instances.groups).items():
            tensors.setdefault(name, []).extend(values)
        beside += instances.passthrough.rows
    return (
        tensors,
        beside,
        [json.loads(encode_row_error(row, reader)) for row in faults.up_to(None)],
    )


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        # A cell that only comes back has to be text as well.
        (b"k,x,s\ncaf\xe9,1,a\nok,2,b\n", [2.0], {1: "not UTF-8"}),
        # Two halves of a character in neighbouring rows are none.
        (b"k,x,s\na,1,x\xc3\nb,2,\xa9y\n", None, {1: "not UTF-8", 2: "not UTF-8"}),
        (b"k,x,s\na,1,p\rq\nb,2,c\n", [2.0], {1: "new-line character"}),
        (b'k,x,s\na,1,"p\rq"\r\nb,2,c\r\n', [1.0, 2.0], {}),
        (b'k,x,s\na,1,5" nail\nb,2,c\n', [2.0], {1: "a quote in the wrong place"}),
        (b'k,x,s\na,1,"open\nb,2,c\n', [2.0], {1: "none ends it"}),
        (b"\n\r\nk,x,s\na,1,c\nb,z,c\n", [1.0], {2: "field x: expected a number"}),
        (b"k,x,s\na,1,c\n\nb,2\n", [1.0], {3: "expected 3 cells"}),
        (b"k,x,s\na,1,c\nb," + b"2" * 2000 + b",d\n", [1.0], {2: "longer than 1000 bytes"}),
        (b"k,x,s\na,1,c\nb,1e999,d\n", [1.0], {2: 'found "1e999"'}),
        (b"k,x,s\na,+1,c\nb,.5,d\nc,1_0,e\n", [1.0, 0.5], {3: 'found "1_0"'}),
    ],
)
def test_table_rows_do_not_depend_on_neighbours(
    text: bytes, good: list[float] | None, bad: dict[int, str], rows: int
) -> None:
    """What is a good row of a table does not depend on its neighbours."""
    fields = InstanceFields(key="k")

    def reader(faults: RowErrors) -> CsvReader:
        return csv_reader(faults, fields, x=FLOAT, s=STRING)

    tensors, beside, errors = read(text, reader, rows=rows)
    assert tensors.get("x") == good
    assert len(beside) == len(good or [])
    assert [error["row"] for error in errors] == list(bad)
    for error, words in zip(errors, bad.values(), strict=True):
        assert words in error["error"]["message"]


def test_blank_cell_and_blank_row_of_one_column() -> None:
    """Blanks are the cell of a table with one column and nothing is no row."""
    tensors, _, errors = read(b's\na\n   \n\n""\nb', lambda faults: csv_reader(faults, s=STRING))
    assert (tensors, errors) == ({"s": [b"a", b"   ", b"", b"b"]}, [])


def test_a_table_that_we_write_is_read_back() -> None:
    writer = CsvWriter(Signature("s", "", {}, {"s": STRING}))
    values = np.array([b" ", b"", b'"', b"a,b", b"c\r\nd", "é".encode()], object)
    text = writer.header(()) + writer.encode({"s": values}, PassthroughFields(), 6, rows_sent=6)
    tensors, _, errors = read(text, lambda faults: csv_reader(faults, s=STRING))
    assert (tensors, errors) == ({"s": values.tolist()}, [])


@pytest.mark.parametrize("shape", [(None,), (None, 1), (None, None), None])
def test_a_regression_is_one_column_of_a_table(shape: tuple[int | None, ...] | None) -> None:
    outputs = {"outputs": TensorSpec(np.dtype(np.float32), shape)}
    writer = CsvWriter(Signature("s", "tensorflow/serving/regress", {}, outputs))
    values: NDArray[np.float32] = np.array([1.5, np.nan, -np.inf, 0], np.float32)
    for array in (values, values[:, None]):
        assert writer.header(("key",)) == b"key,outputs\n"
        beside = PassthroughFields(("key",), [(b"1",), (b"2",), (b"3",)])
        text = writer.encode({"outputs": array}, beside, 3, rows_sent=4)
        assert text == b"1,1.5\n2,NaN\n3,-Infinity\n"
    with pytest.raises(InvalidModel, match="a regression has the shape"):
        writer.encode(
            {"outputs": np.zeros((4, 2), np.float32)}, PassthroughFields(), 4, rows_sent=4
        )


def test_table_rows_may_differ_in_shape() -> None:
    """Rows of an open dimension are read alike, whatever batch they are in."""
    text = b'x\n"[1,2]"\n"[1,2,3]"\n"[4,5]"\n"[6"\n'
    for rows in (1, 4):
        tensors, _, errors = read(text, lambda faults: csv_reader(faults, x=LISTS), rows=rows)
        assert tensors == {"x": [[1.0, 2.0], [1.0, 2.0, 3.0], [4.0, 5.0]]}
        assert [error["row"] for error in errors] == [4]


def test_cut_record_has_no_key() -> None:
    """Of a record of which only the beginning is kept no key is told."""
    text = b"x,k\n1," + b"K" * 1100 + b"\n2,short\n"
    fields = InstanceFields(key="k")
    tensors, _, (error,) = read(text, lambda faults: csv_reader(faults, fields, x=FLOAT))
    assert tensors == {"x": [2.0]}
    assert "key" not in error
    assert isinstance(error["instance"], str)


@pytest.mark.parametrize("data", [b"", b"\n", b"k\n1\n"])
def test_a_table_without_inputs_is_refused_or_empty(data: bytes) -> None:
    optional = Signature("s", "", {"x": FLOAT}, {}, {"x": np.zeros(1, np.float32)})

    def reader(faults: RowErrors) -> CsvReader:
        fields = InstanceFields(key="k")
        return CsvReader(opening(faults, optional, fields), instance_as_columns=False)

    if data.strip():
        with pytest.raises(UnsupportedInput, match="no column is an input; the header has k"):
            read(data, reader)
    else:
        assert read(data, reader) == ({}, [], [])


def test_a_default_for_all_rows_together_is_no_column() -> None:
    with_offset = signature(x=FLOAT, offset=TensorSpec(np.dtype(np.float32), ()))
    optional = Signature("s", "", with_offset.inputs, {}, {"offset": np.array(1, np.float32)})

    def reader(faults: RowErrors) -> CsvReader:
        return CsvReader(opening(faults, optional), instance_as_columns=False)

    assert read(b"x\n1\n", reader)[0] == {"x": [1.0]}
    with pytest.raises(UnsupportedInput, match="the signature has no input offset, only x"):
        read(b"x,offset\n1,2\n", reader)


def test_unclosed_quote_costs_one_row() -> None:
    """A quote that is never closed costs one row and a bounded group."""
    text = b'x\n"1\n' + b"2\n" * 400_000
    faults = RowErrors(skip=True)
    reader = csv_reader(faults, x=FLOAT)
    sizes = [len(records.ends) for records in reader.read([text])]
    assert sum(sizes) == 400_001
    (row,) = faults.up_to(None)
    assert row.error.number == 1


def test_row_errors_of_a_table_do_not_pile_up() -> None:
    text = b"x\n" + b'1"2\n' * 10_000
    faults = RowErrors(skip=True)
    reader = csv_reader(faults, x=FLOAT)
    waiting = [len(faults.up_to(records.last)) for records in reader.read([text])]
    assert sum(waiting) + len(faults.up_to(None)) == 10_000
    assert max(waiting) <= 1024


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b'[NaN,"\\ud800"]', InstanceFields()),
        (b'{"x":NaN,"\\ud800":1}', InstanceFields()),
        (b'{"k":1,"x":NaN,"\\ud800":1}', InstanceFields(key="k")),
        (b'{"x":NaN,"s":"\\udc00"}', InstanceFields(excluded=("s",))),
        (b'{"k":"\\ud800","x":1}', InstanceFields(key="k")),
        (b'{"k":NaN,"x":1}', InstanceFields(key="k")),
        (b'{"x":1}\xff', InstanceFields(key="k")),
    ],
)
def test_half_a_character_is_a_bad_row_wherever_it_is(line: bytes, fields: InstanceFields) -> None:
    def reader(faults: RowErrors) -> JsonLinesReader:
        return JsonLinesReader(opening(faults, signature(x=FLOAT), fields))

    unseen = [*filter(None, [fields.key]), *fields.excluded]
    good = json.dumps({"x": 2, **dict.fromkeys(unseen, 0)}).encode()
    tensors, _, errors = read(line + b"\n" + good + b"\n", reader)
    assert [error["line"] for error in errors] == [1]
    assert tensors == {"x": [2.0]}


@pytest.mark.parametrize("block", [1, 13, 10_000])
def test_records_of_any_size_are_cut_wherever_blocks_end(block: int) -> None:
    contents = [b"", b"a", b"x" * 500, b"y" * 1001, b"z" * 1000, b"end"]

    def reader(faults: RowErrors) -> TfRecordReader:
        return TfRecordReader(opening(faults, signature(s=STRING)))

    data = b"".join(map(frame, contents))
    tensors, _, (error,) = read(data, reader, block=block)
    assert tensors == {"s": [content for content in contents if len(content) <= 1000]}
    assert (error["record"], error["error"]["code"]) == (4, 413)
    for end in range(1, len(data)):
        if data[:end] in {b"".join(map(frame, contents[:n])) for n in range(len(contents))}:
            continue
        if end % 97 == 0:
            with pytest.raises(UnsupportedInput, match="the file ends within it"):
                read(data[:end], reader, block=block)


# Lists, and outputs beside inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


def test_every_line_of_a_list_is_found_or_told_of(folder: Path) -> None:
    (folder / "in" / "a").write_text("a")
    uris = [
        f"{folder}/in/a",
        f"{folder}/in/b",
        "gs://bucket/",
        f"{folder}/in/",
        "relative",
        "s3://x/y",
    ]
    (folder / "list").write_bytes(gzip.compress("\n".join([*uris, "", uris[0]]).encode()))
    storage = Storage()
    file = storage.find(parse_location(str(folder / "list"), parameter="input"))
    assert file is not None
    listed = read_manifest(file, storage, NameBudget(), lambda: None)
    assert list(listed.files) == [uris[0]]
    assert set(listed.errors) == set(uris[2:])


def test_list_stays_inside_allowed_prefixes(folder: Path) -> None:
    """A list names nothing outside the allowed prefixes."""
    (folder / "secret").write_text("s")
    (folder / "in" / "a").write_text("a")
    uris = [f"{folder}/in/a", f"{folder}/secret", f"{folder}/in/../secret", "gs://elsewhere/x"]
    (folder / "in" / "list").write_text("\n".join(uris))
    allowed = parse_location(f"{folder}/in/", parameter="allowed")
    storage = Storage(allowed_uri_prefixes=(allowed,))
    file = storage.find(parse_location(str(folder / "in" / "list"), parameter="input"))
    assert file is not None
    listed = read_manifest(file, storage, NameBudget(), lambda: None)
    assert list(listed.files) == uris[:1]
    assert {type(error) for error in listed.errors.values()} == {PermissionDenied}
    assert set(listed.errors) == set(uris[1:])


def test_a_list_is_bounded(folder: Path) -> None:
    (folder / "list").write_text("/nowhere\n" * 100_001)
    storage = Storage()
    file = storage.find(parse_location(str(folder / "list"), parameter="input"))
    assert file is not None
    with pytest.raises(UnsupportedInput, match="may name 100000 objects"):
        read_manifest(file, storage, NameBudget(), lambda: None)


def test_the_lists_of_a_job_are_bounded_together(folder: Path) -> None:
    storage, left = Storage(), NameBudget()
    for name, text in (("a", "/nowhere\n" * 60_000), ("b", f"/{'n' * 1000}\n" * 20_000)):
        (folder / name).write_text(text)
    first, second = (storage.find(parse_location(f"{folder}/{n}", parameter="p")) for n in "ab")
    assert first is not None
    assert second is not None
    read_manifest(first, storage, left, lambda: None)
    with pytest.raises(UnsupportedInput, match="a job may name 100000 objects"):
        read_manifest(first, storage, left, lambda: None)
    with pytest.raises(UnsupportedInput, match="in 16 MiB of names"):
        read_manifest(second, storage, NameBudget(), lambda: None)


def test_a_list_is_read_only_as_long_as_the_job_has_time(folder: Path) -> None:
    """However little of it there is in storage."""
    (folder / "list").write_bytes(gzip.compress(b"\n" * 5_000_000))
    storage = Storage()
    file = storage.find(parse_location(str(folder / "list"), parameter="input"))
    assert file is not None
    checks = iter([None, None])

    def check() -> None:
        if next(checks, "over") == "over":
            raise DeadlineExceeded("time is up")

    with pytest.raises(DeadlineExceeded):
        read_manifest(file, storage, NameBudget(), check)


def plan(folder: Path, **changes: object) -> list[str]:
    parameters = {"model": "/m/", "input": f"{folder}/in/", "output": f"{folder}/in/", **changes}
    tasks = planned(parse_job_spec(parameters), Storage()).tasks
    return [task.output.path.removeprefix(f"{folder}/") for task in tasks]


def test_outputs_beside_inputs_are_no_inputs(folder: Path) -> None:
    """Outputs in the folder of their inputs are no inputs of the next call."""
    (folder / "in" / "r.csv").write_text("x\n")
    assert plan(folder) == ["in/r.csv.jsonl"]
    storage = Storage()
    for name in ("r.csv.jsonl", "r.csv.jsonl.errors.jsonl"):
        place = parse_location(str(folder / "in" / name), parameter="output")
        with storage.create(place) as writer:
            writer.finish({"embedded-tf-fingerprint": "x"})
    assert plan(folder) == ["in/r.csv.jsonl"]
    # What somebody else has put there is an input, and would be lost.
    (folder / "in" / "r.csv.jsonl").write_text("1\n")
    with pytest.raises(InvalidArgument, match="would be overwritten"):
        plan(folder)


def test_link_out_is_refused_before_anything_runs(folder: Path) -> None:
    """A link that leads out is refused before anything runs."""
    (folder / "secret.jsonl").write_text("1\n")
    (folder / "in" / "a.jsonl").write_text("1\n")
    (folder / "in" / "link.jsonl").symlink_to(folder / "secret.jsonl")
    storage = Storage(local_roots=(folder / "in", folder / "out"))
    spec = parse_job_spec({"model": "/m/", "input": f"{folder}/in/*", "output": f"{folder}/out/"})
    with pytest.raises(PermissionDenied, match="only below LOCAL_ROOTS"):
        planned(spec, storage)


def test_output_that_is_others_folder_is_refused(folder: Path) -> None:
    """An output that would be the folder of another is refused."""
    (folder / "in" / "a").write_text("")
    (folder / "more" / "a").mkdir(parents=True)
    (folder / "more" / "a" / "b").write_text("")
    inputs = [f"{folder}/in/", f"{folder}/more/"]
    with pytest.raises(
        InvalidArgument, match="is another output of this job, and would have to be a folder"
    ):
        plan(folder, input=inputs, output=f"{folder}/out/")
