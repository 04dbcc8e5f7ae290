"""Converts rows of a table to serialized tf.Examples: each visible column is a feature.

An empty cell leaves the feature out, because pandas writes missing values so.
"""

from collections.abc import Callable

from app.codec.casting import with_last_dimension
from app.codec.json_values import quoted_names
from app.codec.slow_path import Misfit
from app.codec.tf_examples import example_of
from app.errors import UnsupportedInput
from app.formats.csv_cells import feature_value, is_missing_number, text_json, typed_json
from app.formats.csv_header import Header
from app.framing.lines import Lines
from tfserving_launcher import TensorSpec
from tfserving_launcher.parse_spec import FeatureTypes
from tfserving_launcher.tensors import Array, string_array


class ExampleRowEncoder:
    """A RowEncoder for signatures whose only input is tf.Examples.

    `types` is None if the graph's features are unknown. Raises UnsupportedInput if no column is a
    feature.
    """

    def __init__(
        self,
        header: Header,
        input_name: str,
        spec: TensorSpec,
        types: FeatureTypes | None,
        file: str,
    ) -> None:
        if not header.is_given:
            raise UnsupportedInput(
                f"{file}: columns are features by their names, and the table has no header"
            )
        names = header.seen_names
        if not names or (types and not types.keys() & names.keys()):
            expected = f", which are {quoted_names(types)}" if types else ""
            raise UnsupportedInput(
                f"{file}: no column is a feature that the model parses{expected}; the header has"
                f" {header.quoted(range(len(header.names)))}"
            )
        self._input, self._spec = input_name, spec
        self._types = types or {}
        self._indices = names
        self.cell_json: list[Callable[[bytes], bytes]] = [text_json] * len(header.names)
        for name, index in names.items():
            if self._types.get(name, "bytes") != "bytes":
                self.cell_json[index] = _number_json

    def batch(self, batch: Lines) -> dict[str, Array] | None:
        del batch  # features need cells
        return None

    def columns(self, cells: list[tuple[bytes, ...]]) -> dict[str, Array] | None:
        try:
            examples = [self._example(row) for row in zip(*cells, strict=True)]
        except Misfit:
            return None
        return {self._input: self._tensor(examples)}

    def row(self, cells: tuple[bytes, ...]) -> dict[str, Array]:
        tensor = self._tensor([self._example(cells)])
        return {self._input: tensor.reshape(tensor.shape[1:])}

    def _tensor(self, examples: list[bytes]) -> Array:
        return with_last_dimension(string_array(examples), self._spec)

    def _example(self, cells: tuple[bytes, ...]) -> bytes:
        types = self._types
        features = {
            name: feature_value(cells[index], types.get(name), name)
            for name, index in self._indices.items()
        }
        return example_of(features, types)


def _number_json(cell: bytes) -> bytes:
    return b"null" if is_missing_number(cell) else typed_json(cell)
