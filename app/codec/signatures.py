"""What kind of call a signature is, and whether it can be made from rows.

Source: tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc, and
tensorflow/core/protobuf/meta_graph.proto (SignatureDef).
"""

from collections.abc import Iterable

from app.codec.casting import holds_one_value
from app.errors import InvalidModel
from tfserving_launcher import Signature
from tfserving_launcher.tensors import dtype_name, family

_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"
_EXAMPLES = "inputs"
CLASSES, SCORES, VALUES = "classes", "scores", "outputs"


def classifies(signature: Signature) -> bool:
    return signature.method_name == _CLASSIFY


def regresses(signature: Signature) -> bool:
    return signature.method_name == _REGRESS


def takes_examples(signature: Signature) -> bool:
    """Whether its one input is serialized tf.Examples, by definition."""
    return classifies(signature) or regresses(signature)


def check_inputs(signature: Signature) -> None:
    """Raises InvalidModel where rows cannot be what the signature is called with."""
    if not signature.inputs:
        raise InvalidModel(
            f"signature {signature.name} has no inputs, so there is nothing to predict"
        )
    for name, spec in signature.inputs.items():
        if family(spec.dtype) == "complex":
            raise InvalidModel(f"input {name} is {spec}: complex numbers have no JSON form")
        if spec.shape == () and name not in signature.defaults:
            raise InvalidModel(
                f"input {name} is {spec}: it has no batch dimension, so rows cannot give it;"
                f' constants={{"{name}": ...}} gives its value for all rows'
            )
    if takes_examples(signature):
        expected = f"one input, {_EXAMPLES}, of serialized tf.Examples"
        specs = list(signature.inputs.values())
        if list(signature.inputs) != [_EXAMPLES] or dtype_name(specs[0].dtype) != "string":
            raise _not_as_named(signature, expected, "inputs")


def check_outputs(signature: Signature) -> None:
    """Raises InvalidModel where there are no outputs, or one that has no JSON form."""
    if not signature.outputs:
        raise InvalidModel(
            f"signature {signature.name} has no outputs, so there is nothing to write"
        )
    for name, spec in signature.outputs.items():
        if family(spec.dtype) == "complex":
            raise InvalidModel(f"output {name} is {spec}: complex numbers have no JSON form")
        if spec.shape == ():
            others = [other for other, one in signature.outputs.items() if one.shape != ()]
            raise InvalidModel(
                f"output {name} is {spec}: it has no batch dimension{left_out_by(others)}"
            )
    names = set(signature.outputs)
    if classifies(signature):
        kinds = {CLASSES: "string", SCORES: "float"}
        wrong = [n for n in names if family(signature.outputs[n].dtype) != kinds.get(n)]
        if wrong:
            raise _not_as_named(signature, f"the outputs {CLASSES} and {SCORES}", "outputs")
    if regresses(signature) and (
        names != {VALUES} or family(signature.outputs[VALUES].dtype) != "float"
    ):
        raise _not_as_named(signature, f"one output, {VALUES}, of floats", "outputs")


def left_out_by(outputs: Iterable[str]) -> str:
    """How to leave out an output, where these are others that can be written."""
    names = ",".join(outputs)
    return f"; output_filter={names} leaves it out" if names else ""


def fixed_batch_size(signature: Signature) -> int | None:
    """Rows that every call must have, where the signature fixes its first dimension.

    Raises InvalidModel where inputs fix different ones.
    """
    sizes = {
        spec.shape[0]
        for name, spec in signature.inputs.items()
        if spec.shape and name not in signature.defaults
    }
    fixed = sizes - {None}
    if len(fixed) > 1:
        raise InvalidModel(
            f"the inputs of signature {signature.name} fix different batch sizes:"
            f" {', '.join(f'{name} is {spec}' for name, spec in signature.inputs.items())}"
        )
    return next(iter(fixed), None)


def only_string_input(signature: Signature) -> str | None:
    """The name of the only input, where each row of it is one string."""
    if len(signature.inputs) != 1:
        return None
    ((name, spec),) = signature.inputs.items()
    return name if holds_one_value(spec) and family(spec.dtype) == "string" else None


def _not_as_named(signature: Signature, expected: str, what: str) -> InvalidModel:
    specs = signature.inputs if what == "inputs" else signature.outputs
    found = ", ".join(f"{name}: {spec}" for name, spec in specs.items())
    return InvalidModel(
        f"signature {signature.name} is {signature.method_name}, which has {expected}; its {what}"
        f" are {found}"
    )
