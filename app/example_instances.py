"""JSON lines to serialized tf.Examples, for signatures that classify or regress."""

from app.careful_rows import Misfit
from app.errors import RowFault
from app.json_values import InvalidJson, parse_json
from app.lines import Lines, OnFault
from app.tf_examples import example_of
from tfserving_launcher import Signature
from tfserving_launcher.tensors import Array, string_array


class ExampleEncoder:
    """Turns the batches of one file into tensors. `on_fault` is told of each bad row."""

    def __init__(self, signature: Signature, on_fault: OnFault) -> None:
        (self._input,) = signature.inputs
        self._on_fault = on_fault

    def encode(self, batch: Lines) -> dict[str, Array]:
        """The tensor of the one input, a string for each good row; empty where no row is good."""
        examples = []
        for number, text in batch.rows():
            try:
                examples.append(example_of(parse_json(text)))
            except InvalidJson as error:
                go_on = self._on_fault(RowFault(number, None, str(error)), text)
            except Misfit as misfit:
                go_on = self._on_fault(RowFault(number, misfit.field, str(misfit)), text)
            else:
                continue
            if not go_on:
                break
        return {self._input: string_array(examples)} if examples else {}
