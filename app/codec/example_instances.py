"""JSON lines to serialized tf.Examples, for signatures whose graph parses such."""

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
    """Turns the batches of one file into tensors, for signatures that classify or regress.

    `on_row_error` is told of each bad row.
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
        """One group of the one input, a string for each good row; none where no row is good."""
        types = self._parse_spec() or {}
        examples = []
        for number, text in batch.rows():
            try:
                examples.append(example_of(parse_json(text), types))
            except InvalidJson as invalid:
                go_on = self._on_row_error(RowError(number, None, str(invalid)), text)
            except Misfit as misfit:
                # Without a field, the row is no object of features at all.
                hint = self._hint if misfit.field is None else ""
                error = RowError(number, misfit.field, f"{misfit}{hint}")
                go_on = self._on_row_error(error, text)
            else:
                continue
            if not go_on:
                break
        return one_group({self._input: string_array(examples)} if examples else {})


class FeatureRows:
    """Objects of features among the rows of a signature with one input of strings."""

    def __init__(self, input_name: str, parse_spec: Callable[[], FeatureTypes | None]) -> None:
        self._input = input_name
        self._parse_spec = parse_spec

    @cached_property
    def _types(self) -> FeatureTypes | None:
        return self._parse_spec()

    def as_instance(self, row: Any) -> Any:
        """The row, with the tf.Example in place of an object of features.

        Strings, `{"b64": ...}` and the input by its name are left as they are, and so are objects
        where the graph parses no tf.Examples. Raises Misfit.
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
