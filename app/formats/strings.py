"""Formats whose records are strings that go to the model unchanged."""

from typing import Any, ClassVar

import orjson
import pybase64

from app.codec.casting import with_last_dimension
from app.codec.row_groups import RowGroup, one_group
from app.codec.signatures import only_string_input
from app.codec.slow_path import Misfit
from app.codec.tf_examples import text_or_base64
from app.errors import RowError, UnsupportedInput
from app.formats.context import Instances, PassthroughFields, ReaderContext
from app.formats.jsonl import passthrough_names
from tfserving_launcher.tensors import string_array


class StringReader:
    """The base of readers for such formats."""

    unit: ClassVar[str]
    format_name: ClassVar[str]
    # Whether records have fields, one of which may be the key.
    has_fields: ClassVar[bool] = False

    def __init__(self, context: ReaderContext) -> None:
        signature, fields, file = context.signature, context.fields, context.file
        name = only_string_input(signature)
        if name is None:
            specs = ", ".join(f"{name}: {spec}" for name, spec in signature.inputs.items())
            raise UnsupportedInput(
                f"{file}: {self.format_name} is read for signatures with one input of strings, the"
                f" inputs of {signature.name} are {specs}; input_format says how to read a file"
                " whose name does not tell"
            )
        if fields.included is not None or fields.excluded or (fields.key and not self.has_fields):
            raise UnsupportedInput(
                f"{file}: {self.format_name} goes to the model as it is, so there are no fields to"
                " choose"
            )
        self._input, self._spec = name, signature.inputs[name]
        self._fields = fields
        self._on_row_error = context.on_row_error
        self._file = file
        self._max_line_bytes = context.max_line_bytes

    def strings(self, rows: list[tuple[int, bytes]], contents: list[bytes]) -> Instances:
        """Make instances of `contents`. Outputs show the numbered texts instead."""
        names = passthrough_names(self._fields)
        if not names:
            return Instances(self._groups(contents))
        strings, passthrough = [], []
        for (number, text), content in zip(rows, contents, strict=True):
            try:
                passthrough.append(self._passthrough(text))
            except Misfit as misfit:
                if not self._on_row_error(RowError(number, misfit.field, str(misfit)), text):
                    break
            else:
                strings.append(content)
        return Instances(self._groups(strings), PassthroughFields(names, passthrough))

    def _groups(self, strings: list[bytes]) -> tuple[RowGroup, ...]:
        if not strings:
            return ()
        return one_group({self._input: with_last_dimension(string_array(strings), self._spec)})

    def _passthrough(self, text: bytes) -> tuple[bytes, ...]:
        passthrough = []
        if self._fields.key is not None:
            passthrough.append(self.key_of(text, self._fields.key))
        if self._fields.include_instance:
            passthrough.append(self.as_json(text))
        return tuple(passthrough)

    def instances(self, batch: Any) -> Instances:
        rows = self.rows(batch)
        return self.strings(rows, [text for _, text in rows])

    def rows(self, batch: Any) -> list[tuple[int, bytes]]:
        rows: list[tuple[int, bytes]] = batch.rows()
        return rows

    def passthrough_names(self) -> tuple[str, ...]:
        return passthrough_names(self._fields)

    def key_of(self, text: bytes, name: str) -> bytes:
        """The key in a record, for formats with fields. Raises Misfit."""
        raise NotImplementedError

    def key(self, text: bytes) -> bytes | None:
        if self._fields.key is None:
            return None
        try:
            return self.key_of(text, self._fields.key)
        except Misfit:
            return None

    def as_json(self, text: bytes) -> bytes:
        """The record as JSON."""
        return orjson.dumps(text_or_base64(text))


def as_base64(text: bytes) -> bytes:
    """Encode bytes as JSON base64, even if they are valid text."""
    return orjson.dumps({"b64": pybase64.b64encode_as_string(text)})
