"""Converts JSON lines to serialized tf.Examples, for signatures whose graph parses them."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from app.codec.json_values import InvalidJson, parse_json, quoted_names
from app.codec.row_groups import RowGroup, one_group
from app.codec.slow_path import Misfit, is_bytes
from app.codec.tf_examples import example_of
from app.errors import RowError
from app.framing.lines import Lines
from app.framing.records import RowErrorSink
from tfserving_launcher import Signature
from tfserving_launcher.parse_spec import FeatureTypes
from tfserving_launcher.tensors import string_array


class ExampleEncoder:
    """Encodes the batches of one file for signatures that classify or regress.

    `on_row_error` receives each invalid row.
    """

    def __init__(
        self,
        signature: Signature,
        on_row_error: RowErrorSink,
        parse_spec: Callable[[], FeatureTypes | None],
        row_signatures: Sequence[str] = (),
    ) -> None:
        self._hint = ""
        if row_signatures:
            self._hint = (
                f"; signature {signature.name} takes tf.Examples, and signature_name="
                f"{' or '.join(row_signatures)} takes rows as they are"
            )
        (self._input,) = signature.inputs
        self._on_row_error = on_row_error
        self._parse_spec = parse_spec

    def encode(self, batch: Lines) -> tuple[RowGroup, ...]:
        """Encode the valid rows as one group of strings; no group if there are none."""
        types = self._parse_spec() or {}
        examples = []
        for number, text in batch.rows():
            try:
                examples.append(example_of(parse_json(text), types))
            except InvalidJson as invalid:
                go_on = self._on_row_error(RowError(number, None, str(invalid)), text)
            except Misfit as misfit:
                # Without a field name, the whole row is not an object of features.
                hint = self._hint if misfit.field is None else ""
                error = RowError(number, misfit.field, f"{misfit}{hint}")
                go_on = self._on_row_error(error, text)
            else:
                continue
            if not go_on:
                break
        return one_group({self._input: string_array(examples)} if examples else {})


class FeatureRows:
    """Converts objects of features in rows for a single string input."""

    def __init__(self, input_name: str, parse_spec: Callable[[], FeatureTypes | None]) -> None:
        self._input = input_name
        self._parse_spec = parse_spec

    @cached_property
    def _types(self) -> FeatureTypes | None:
        return self._parse_spec()

    def as_instance(self, row: Any) -> Any:
        """Replace an object of features by its tf.Example.

        Strings, `{"b64": ...}` and objects with the input's name pass unchanged, and so does
        everything if the graph parses no tf.Examples. Raises Misfit.
        """
        if not isinstance(row, dict) or is_bytes(row) or row.keys() == {self._input}:
            return row
        types = self._types
        if types is None or (self._input in row and self._input not in types):
            return row
        if types and not types.keys() & row.keys():
            raise Misfit(
                f"expected a string, or an object with features that the model parses, which are"
                f" {quoted_names(types)}; found {quoted_names(row)}"
            )
        return {self._input: example_of(row, types)}
