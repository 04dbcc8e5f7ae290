"""JSON lines: an instance on each."""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import orjson

from app.careful_rows import Misfit
from app.errors import RowFault
from app.example_instances import ExampleEncoder, FeatureRows
from app.formats.json_fields import JsonFields, SplitInstance
from app.formats.reader import Companions, Instances, Opening
from app.instances import InstanceEncoder
from app.job_spec import InstanceFields
from app.json_values import InvalidJson
from app.lines import Lines, as_lines, read_lines, without_blank_lines
from app.row_cost import without_costly_rows
from app.signatures import only_string_input, takes_examples


class JsonLinesReader:
    """An InstanceReader for lines that are instances as TF Serving's REST API takes them."""

    unit: ClassVar[str] = "line"

    def __init__(self, opening: Opening) -> None:
        self._on_fault = opening.on_fault
        self._max_line_bytes = opening.max_line_bytes
        self._fields = opening.fields
        self._split = JsonFields(opening.fields)
        # The lines of a batch whose fields are split, as they stand in the file.
        self._whole: dict[int, bytes] = {}
        self._bad: set[int] = set()
        self._encoder = self._open_encoder(opening)

    def _open_encoder(self, opening: Opening) -> ExampleEncoder | InstanceEncoder:
        signature = opening.signature
        if takes_examples(signature):
            return ExampleEncoder(signature, self._note_fault, opening.parse_spec)
        open_encoder = partial(
            InstanceEncoder,
            signature,
            self._note_fault,
            integer_strings=opening.integer_strings,
            max_line_bytes=opening.max_line_bytes,
        )
        name = only_string_input(signature)
        if name is None:
            return open_encoder()
        features = FeatureRows(name, opening.parse_spec)
        return open_encoder(as_instance=features.as_instance)

    def read(self, blocks: Iterable[bytes]) -> Iterator[Lines]:
        lines = read_lines(blocks, max_line_bytes=self._max_line_bytes, on_fault=self._on_fault)
        return without_blank_lines(lines)

    def instances(self, batch: Lines) -> Instances:
        if not self._fields.selects and not self._fields.include_instance:
            if isinstance(self._encoder, ExampleEncoder):
                batch = without_costly_rows(batch, self._max_line_bytes, self._on_fault)
            return Instances(self._encoder.encode(batch))
        split = self._split_rows(without_costly_rows(batch, self._max_line_bytes, self._on_fault))
        if not split:
            return Instances({})
        seen = as_lines(batch.first, b"".join([one.seen + b"\n" for one in split.values()]))
        numbers = np.fromiter(split, np.int64, len(split))
        tensors = self._encoder.encode(dataclasses.replace(seen, numbers=numbers))
        good = [split[number].companions for number in split if number not in self._bad]
        return Instances(tensors, Companions(companion_names(self._fields), good))

    def rows(self, batch: Lines) -> list[tuple[int, bytes]]:
        return batch.rows()

    def companion_names(self) -> tuple[str, ...]:
        return companion_names(self._fields)

    def _split_rows(self, batch: Lines) -> dict[int, SplitInstance]:
        """The rows that could be split, by number; up to the first bad one where that ends it."""
        self._whole, self._bad = dict(batch.rows()), set()
        split = {}
        for number, line in self._whole.items():
            try:
                split[number] = self._split.split(line)
            except InvalidJson as error:
                go_on = self._on_fault(RowFault(number, None, str(error)), line)
            except Misfit as misfit:
                go_on = self._on_fault(RowFault(number, misfit.field, str(misfit)), line)
            else:
                continue
            if not go_on:
                break
        return split

    def _note_fault(self, fault: RowFault, text: bytes) -> bool:
        self._bad.add(fault.number)
        return self._on_fault(fault, self._whole.get(fault.number, text))

    def shown(self, text: bytes) -> bytes:
        """As it was in the input, or a string where it is not JSON."""
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return orjson.dumps(text.decode(errors="replace"))
        return text

    def key(self, text: bytes) -> bytes | None:
        return self._split.key(text)


def companion_names(fields: InstanceFields) -> tuple[str, ...]:
    """What is written beside each prediction, in this order."""
    names = {"key": fields.key is not None, "instance": fields.include_instance}
    return tuple(name for name, is_wanted in names.items() if is_wanted)
