"""Formats whose records go to the model as they are: a string for each."""

from typing import Any, ClassVar

import orjson
import pybase64

from app.careful_rows import Misfit
from app.errors import RowFault, UnsupportedInput
from app.formats.jsonl import companion_names
from app.formats.reader import Companions, Instances, Opening
from app.signatures import only_string_input
from app.tf_examples import text_or_base64
from tfserving_launcher.tensors import Array, string_array


class StringReader:
    """What readers of such formats have in common. Subclasses name the format."""

    unit: ClassVar[str]
    format_name: ClassVar[str]
    # Whether a record has fields, of which one may be the key.
    has_fields: ClassVar[bool] = False

    def __init__(self, opening: Opening) -> None:
        signature, fields, file = opening.signature, opening.fields, opening.file
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
        self._input = name
        self._fields = fields
        self._on_fault = opening.on_fault
        self._file = file
        self._max_line_bytes = opening.max_line_bytes

    def strings(self, rows: list[tuple[int, bytes]], contents: list[bytes]) -> Instances:
        """The instances `contents`, which the numbered texts stand for in outputs."""
        names = companion_names(self._fields)
        if not names:
            return Instances(self._tensors(contents))
        strings, companions = [], []
        for (number, text), content in zip(rows, contents, strict=True):
            try:
                companions.append(self._companions(text))
            except Misfit as misfit:
                if not self._on_fault(RowFault(number, misfit.field, str(misfit)), text):
                    break
            else:
                strings.append(content)
        return Instances(self._tensors(strings), Companions(names, companions))

    def _tensors(self, strings: list[bytes]) -> dict[str, Array]:
        return {self._input: string_array(strings)} if strings else {}

    def _companions(self, text: bytes) -> tuple[bytes, ...]:
        companions = []
        if self._fields.key is not None:
            companions.append(self.key_of(text, self._fields.key))
        if self._fields.include_instance:
            companions.append(self.shown(text))
        return tuple(companions)

    def instances(self, batch: Any) -> Instances:
        rows = self.rows(batch)
        return self.strings(rows, [text for _, text in rows])

    def rows(self, batch: Any) -> list[tuple[int, bytes]]:
        rows: list[tuple[int, bytes]] = batch.rows()
        return rows

    def companion_names(self) -> tuple[str, ...]:
        return companion_names(self._fields)

    def key_of(self, text: bytes, name: str) -> bytes:
        """Raises Misfit. Only for formats with fields."""
        raise NotImplementedError

    def key(self, text: bytes) -> bytes | None:
        if self._fields.key is None:
            return None
        try:
            return self.key_of(text, self._fields.key)
        except Misfit:
            return None

    def shown(self, text: bytes) -> bytes:
        """The record as JSON."""
        return orjson.dumps(text_or_base64(text))


def as_base64(text: bytes) -> bytes:
    """The JSON of bytes that are meant to be such, even where they happen to be text."""
    return orjson.dumps({"b64": pybase64.b64encode_as_string(text)})
