"""JSON lines: one instance per line."""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import orjson

from app.codec.example_instances import ExampleEncoder, FeatureRows
from app.codec.instances import InstanceEncoder
from app.codec.json_values import InvalidJson
from app.codec.row_cost import without_costly_rows
from app.codec.signatures import only_string_input, takes_examples
from app.codec.slow_path import Misfit
from app.config.job_spec import InstanceFields
from app.errors import RowError
from app.formats.context import Instances, PassthroughFields, ReaderContext
from app.formats.json_fields import JsonFields, SplitInstance
from app.framing.lines import Lines, as_lines, read_lines, without_blank_lines
from app.framing.records import RowErrorSink


class JsonLinesReader:
    """An InstanceReader for lines that are instances as TF Serving's REST API takes them."""

    unit: ClassVar[str] = "line"

    def __init__(self, context: ReaderContext) -> None:
        self._on_row_error = context.on_row_error
        self._max_line_bytes = context.max_line_bytes
        self._fields = context.fields
        self._split = JsonFields(context.fields)
        self._noted = _NotedErrors(context.on_row_error)
        self._encoder = self._open_encoder(context)

    def _open_encoder(self, context: ReaderContext) -> ExampleEncoder | InstanceEncoder:
        signature = context.signature
        if takes_examples(signature):
            return ExampleEncoder(
                signature, self._noted.note, context.parse_spec, context.row_signatures
            )
        open_encoder = partial(
            InstanceEncoder,
            signature,
            self._noted.note,
            integer_strings=context.integer_strings,
            max_line_bytes=context.max_line_bytes,
        )
        name = only_string_input(signature)
        if name is None:
            return open_encoder()
        features = FeatureRows(name, context.parse_spec)
        return open_encoder(as_instance=features.as_instance)

    def read(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        lines = read_lines(
            blocks, max_line_bytes=self._max_line_bytes, on_row_error=self._on_row_error
        )
        return without_blank_lines(lines)

    def instances(self, batch: Lines) -> Instances:
        self._noted.begin({})
        if not self._fields.selects and not self._fields.include_instance:
            if isinstance(self._encoder, ExampleEncoder):
                batch = without_costly_rows(batch, self._max_line_bytes, self._on_row_error)
            return Instances(self._encoder.encode(batch))
        split = self._split_rows(
            without_costly_rows(batch, self._max_line_bytes, self._on_row_error)
        )
        if not split:
            return Instances(())
        seen = as_lines(batch.first, b"".join([one.seen + b"\n" for one in split.values()]))
        numbers = np.fromiter(split, np.int64, len(split))
        groups = self._encoder.encode(dataclasses.replace(seen, numbers=numbers))
        good = [split[number].passthrough for number in split if number not in self._noted.bad]
        return Instances(groups, PassthroughFields(passthrough_names(self._fields), good))

    def rows(self, batch: Lines) -> list[tuple[int, bytes]]:
        return batch.rows()

    def passthrough_names(self) -> tuple[str, ...]:
        return passthrough_names(self._fields)

    def _split_rows(self, batch: Lines) -> dict[int, SplitInstance]:
        """Split the rows, by number; stop at the first invalid one if that ends the job."""
        whole = dict(batch.rows())
        self._noted.begin(whole)
        split = {}
        for number, line in whole.items():
            try:
                split[number] = self._split.split(line)
            except InvalidJson as error:
                go_on = self._on_row_error(RowError(number, None, str(error)), line)
            except Misfit as misfit:
                go_on = self._on_row_error(RowError(number, misfit.field, str(misfit)), line)
            else:
                continue
            if not go_on:
                break
        return split

    def as_json(self, text: bytes) -> bytes:
        """The text itself if it is JSON, else a JSON string of it."""
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return orjson.dumps(text.decode(errors="replace"))
        return text

    def key(self, text: bytes) -> bytes | None:
        return self._split.key(text)


class _NotedErrors:
    """The row errors of the current batch, with the original lines.

    Apart from the reader, because an encoder that held its reader would live until the garbage
    collector comes, with megabytes of parsing memory.
    """

    def __init__(self, on_row_error: RowErrorSink) -> None:
        self._on_row_error = on_row_error
        self._whole: dict[int, bytes] = {}
        self.bad: set[int] = set()

    def begin(self, whole: dict[int, bytes]) -> None:
        """A new batch, with the original lines by number where they were changed."""
        self._whole, self.bad = whole, set()

    def note(self, error: RowError, text: bytes) -> bool:
        self.bad.add(error.number)
        return self._on_row_error(error, self._whole.get(error.number, text))


def passthrough_names(fields: InstanceFields) -> tuple[str, ...]:
    """The names of the passthrough fields, in output order."""
    names = {"key": fields.key is not None, "instance": fields.include_instance}
    return tuple(name for name, is_wanted in names.items() if is_wanted)
