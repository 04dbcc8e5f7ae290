"""JSON lines to tensors, as TF Serving's REST API reads the elements of `instances`.

A line is a bare value where the signature has one input, else an object with exactly the
signature's inputs as keys. `{"b64": "..."}` is bytes. Integers become floats where the input is
float; nothing else is converted. All rows of an input have one shape, which fits the signature's.
Source: tensorflow_serving/util/json_tensor.cc (FillPredictRequestFromJson); it leaves the
signature's shape unchecked, here it is checked.

There are three ways, each giving up on what the next one can still read: regular rows of numbers
as one buffer (number_rows.py), regular rows of anything input by input (columns.py), and value by
value (careful_rows.py), which either finds the fault or agrees with the others.
"""

import numpy as np

from app.careful_rows import Misfit, Shape, check_shape, fits, input_values, read_row
from app.columns import read_columns
from app.errors import BadModel, RowFault
from app.json_values import InvalidJson, parse_json
from app.lines import Lines, OnFault
from app.number_rows import NumberRowReader
from tfserving_launcher import Signature
from tfserving_launcher.tensors import Array, family


def fixed_batch_size(signature: Signature) -> int | None:
    """Rows that every call must have, where the signature fixes its first dimension.

    Raises BadModel where the signature has no inputs, or one without JSON form or batch dimension.
    """
    if not signature.inputs:
        raise BadModel(f"signature {signature.name} has no inputs, so there is nothing to predict")
    sizes = set()
    for name, spec in signature.inputs.items():
        if family(spec.dtype) == "complex":
            raise BadModel(f"input {name} is {spec}: complex numbers have no JSON form")
        if spec.shape == ():
            raise BadModel(f"input {name} is {spec}: it has no batch dimension")
        sizes.add(spec.shape[0] if spec.shape else None)
    fixed = sizes - {None}
    if len(fixed) > 1:
        raise BadModel(
            f"the inputs of signature {signature.name} fix different batch sizes:"
            f" {', '.join(f'{name} is {spec}' for name, spec in signature.inputs.items())}"
        )
    return next(iter(fixed), None)


class InstanceEncoder:
    """Turns the batches of one file into tensors. `on_fault` is told of each bad row."""

    def __init__(self, signature: Signature, on_fault: OnFault) -> None:
        self._inputs = signature.inputs
        self._on_fault = on_fault
        self._row_shapes: dict[str, Shape] = {}
        self._numbers: NumberRowReader | None = None
        if len(self._inputs) == 1:
            ((name, spec),) = self._inputs.items()
            if family(spec.dtype) in ("float", "integer"):
                self._numbers = NumberRowReader(name, spec)

    def encode(self, batch: Lines) -> dict[str, Array]:
        """Tensors by input name; the first dimension is the batch.

        Without its blank lines and its bad rows; empty where no row is left.
        """
        tensors = self.quick(batch) or self.careful(batch)
        for name, tensor in tensors.items():
            self._row_shapes.setdefault(name, tensor.shape[1:])
        return tensors

    def quick(self, batch: Lines) -> dict[str, Array] | None:
        """The same tensors as `careful`, or None where anything is not as expected."""
        tensors = self._as_numbers(batch) or self._as_columns(batch)
        if tensors is None:
            return None
        return tensors if all(self._shape_fits(*named) for named in tensors.items()) else None

    def careful(self, batch: Lines) -> dict[str, Array]:
        """Row by row, without those that do not fit; up to the first, where that ends it all."""
        columns: dict[str, list[Array]] = {}
        shapes = dict(self._row_shapes)
        for number, text in batch.rows():
            try:
                values = input_values(parse_json(text), self._inputs)
                row = {}
                for name, spec in self._inputs.items():
                    row[name] = read_row(values[name], spec, name)
                    shape = row[name].shape
                    check_shape(shape, spec, shapes.get(name, shape), name)
            except InvalidJson as error:
                go_on = self._on_fault(RowFault(number, None, str(error)), text)
            except Misfit as misfit:
                go_on = self._on_fault(RowFault(number, misfit.field, str(misfit)), text)
            else:
                for name, array in row.items():
                    shapes.setdefault(name, array.shape)
                    columns.setdefault(name, []).append(array)
                continue
            if not go_on:
                break
        return {name: np.stack(rows) for name, rows in columns.items()}

    def _as_numbers(self, batch: Lines) -> dict[str, Array] | None:
        tensor = None if self._numbers is None else self._numbers.read(batch)
        return None if tensor is None else {next(iter(self._inputs)): tensor}

    def _as_columns(self, batch: Lines) -> dict[str, Array] | None:
        texts = [text for _, text in batch.rows()]
        return read_columns(texts, self._inputs) if texts else None

    def _shape_fits(self, name: str, tensor: Array) -> bool:
        shape = tensor.shape[1:]
        return fits(shape, self._inputs[name]) and shape == self._row_shapes.get(name, shape)
