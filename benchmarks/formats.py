"""What a format costs: the same rows in two formats, by turns, in one service."""

import base64
import gzip
import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import orjson

from app.config.file_format import InputFormat, format_of_name
from app.config.job_spec import InstanceFields
from app.formats.context import InstanceReader, ReaderContext
from app.formats.csv import CsvReader
from app.formats.jsonl import JsonLinesReader
from app.formats.tfrecord import TfRecordReader
from app.framing.batches import BatchLimits, make_batches
from app.framing.gzipped import unpacked
from app.framing.tfrecord import frame
from app.job.row_errors import RowErrors
from app.job.served_model import BYTES_PER_BATCH, ROWS_PER_BATCH
from app.settings import MEBIBYTE
from benchmarks.cases import CASES, FLOATS, INTEGERS, STRINGS, Case
from benchmarks.contestants import ServiceRun, call
from benchmarks.results import Cost
from tests.fakes.buckets import Bucket
from tests.fakes.processes import gunicorn
from tfserving_launcher import Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Pair:
    """`change` makes the content in another format, `name` being its file's, of JSON lines.

    The ratio of the seconds in which rows stream, theirs to those of JSON lines, is at most this.
    """

    what: str
    case: Case
    name: str
    change: Callable[[bytes], bytes]
    at_most: float


def _as_table(lines: bytes) -> bytes:
    rows = list(map(orjson.loads, lines.splitlines()))
    if isinstance(rows[0], dict):
        header, cells = list(rows[0]), [[str(value) for value in row.values()] for row in rows]
    else:
        header = [f"x{place}" for place in range(len(rows[0]))]
        # The same digits as in the JSON lines.
        return _joined([header], [line[1:-1].decode() for line in lines.splitlines()])
    return _joined([header], [",".join(row) for row in cells])


def _joined(headers: list[list[str]], rows: Iterable[str]) -> bytes:
    text = io.StringIO()
    for line in (*map(",".join, headers), *rows):
        text.write(line + "\n")
    return text.getvalue().encode()


def _as_records(lines: bytes) -> bytes:
    contents = (base64.b64decode(orjson.loads(line)["b64"]) for line in lines.splitlines())
    return b"".join(map(frame, contents))


def _small_binary(random: np.random.Generator) -> bytes:
    return orjson.dumps({"b64": base64.b64encode(random.bytes(500)).decode()})


_BY_NAME = {case.name: case for case in CASES}
_SMALL = Case("small binary", "binary", 200_000, 50_000, 1.0, _small_binary)
PAIRS = (
    Pair("wide rows, gzipped", _BY_NAME["wide"], "in.jsonl.gz", gzip.compress, 1.6),
    Pair("wide rows as csv", _BY_NAME["wide"], "in.csv", _as_table, 1.0),
    Pair("20 named columns as csv", _BY_NAME["tabular"], "in.csv", _as_table, 1.0),
    Pair("20 kB of bytes as tfrecord", _BY_NAME["binary"], "in.tfrecord", _as_records, 0.5),
    Pair("500 bytes as tfrecord", _SMALL, "in.tfrecord", _as_records, 0.5),
)


def format_costs(url: str, bucket: Bucket, *, rounds: int, quick: bool) -> list[Cost]:
    return [_cost(pair, url, bucket, rounds=rounds, quick=quick) for pair in PAIRS]


def _cost(pair: Pair, url: str, bucket: Bucket, *, rounds: int, quick: bool) -> Cost:
    lines = pair.case.data(pair.case.quick_rows if quick else pair.case.rows)
    other = pair.change(lines)
    bucket.put("formats/in.jsonl", lines)
    bucket.put(f"formats/{pair.name}", other)
    model = pair.case.model
    ours: dict[str, list[ServiceRun]] = {"in.jsonl": [], pair.name: []}
    with gunicorn({"STORAGE_EMULATOR_HOST": url, "LOG_LEVEL": "WARNING"}) as service:
        for _ in range(rounds):
            for name, runs in ours.items():
                runs.append(call(service, model, f"formats/{name}"))
    plain, changed = (
        float(np.median([run.phases["predict"] for run in runs])) for runs in ours.values()
    )
    reading = _reading_seconds(other, pair, rounds) / _reading_seconds(lines, pair, rounds)
    words = f"{changed:.2f} s, {changed / plain:.2f} of the JSON lines' time; reading {reading:.2f}"
    click.echo(f"{pair.what}: {words}", err=True)
    return Cost(pair.what, words, f"{pair.at_most} of it", changed / plain <= pair.at_most)


def _reading_seconds(content: bytes, pair: Pair, rounds: int) -> float:
    """From bytes to tensors, in one thread and without a model server."""
    name = "in.jsonl" if content.startswith((b"{", b"[")) else pair.name
    seconds = []
    for _ in range(rounds):
        faults = RowErrors(skip=False)
        reader = _reader(format_of_name(name), _SIGNATURES[pair.case.model], faults)
        blocks = (content[n : n + MEBIBYTE] for n in range(0, len(content), MEBIBYTE))
        started = time.perf_counter()
        for batch in make_batches(reader.read(unpacked(blocks, file=name)), _LIMITS):
            reader.instances(batch)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _reader(
    file_format: InputFormat, signature: Signature, faults: RowErrors
) -> InstanceReader[Any]:
    opening = ReaderContext(
        file="",
        signature=signature,
        fields=InstanceFields(),
        on_row_error=faults,
        max_line_bytes=MEBIBYTE,
    )
    if file_format == "jsonl":
        return JsonLinesReader(opening)
    if file_format == "tfrecord":
        return TfRecordReader(opening)
    return CsvReader(opening, instance_as_columns=False)


def _signature(**inputs: TensorSpec) -> Signature:
    return Signature("serving_default", "", dict(sorted(inputs.items())), {})


def _specs(prefix: str, count: int, dtype: type) -> dict[str, TensorSpec]:
    return {f"{prefix}{n}": TensorSpec(np.dtype(dtype), (None,)) for n in range(count)}


_LIMITS = BatchLimits(max_rows=ROWS_PER_BATCH, max_bytes=BYTES_PER_BATCH)
_SIGNATURES = {
    "network": _signature(x=TensorSpec(np.dtype(np.float32), (None, 100))),
    "binary": _signature(image=TensorSpec(np.dtype(object), (None,))),
    "tabular": _signature(
        **_specs("f", FLOATS, np.float32),
        **_specs("i", INTEGERS, np.int64),
        **_specs("s", STRINGS, object),
    ),
}
