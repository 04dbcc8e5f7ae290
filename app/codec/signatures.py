"""Classifies signatures, and checks that rows can call them.

Source: tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc, and
tensorflow/core/protobuf/meta_graph.proto (SignatureDef).
"""

from collections.abc import Collection, Iterable

from app.codec.casting import holds_one_value
from app.errors import InvalidModel
from tfserving_launcher import DEFAULT_SIGNATURE, Signature, TensorSpec
from tfserving_launcher.tensors import dtype_name, family

PREDICT_METHOD = "tensorflow/serving/predict"
_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"
_EXAMPLES = "inputs"
_DENSE_INPUT = {
    "ragged": "calls carry dense tensors; export a signature with a dense input, and make it ragged"
    " in it with tf.RaggedTensor.from_tensor",
    "sparse": "calls carry dense tensors; export a signature with a dense input, and make it sparse"
    " in it with tf.sparse.from_dense",
    "composite": "calls carry dense tensors; export a signature with dense inputs",
}
_DENSE_OUTPUT = {
    "ragged": "answers carry dense tensors; export its .to_tensor()",
    "sparse": "answers carry dense tensors; export tf.sparse.to_dense of it",
    "composite": "answers carry dense tensors; export dense outputs",
}
CLASSES, SCORES, VALUES = "classes", "scores", "outputs"


def classifies(signature: Signature) -> bool:
    return signature.method_name == _CLASSIFY


def regresses(signature: Signature) -> bool:
    return signature.method_name == _REGRESS


def takes_examples(signature: Signature) -> bool:
    """Whether the signature's only input is serialized tf.Examples, by its method."""
    return classifies(signature) or regresses(signature)


def check_inputs(signature: Signature) -> None:
    """Raise InvalidModel if the signature cannot be called with rows."""
    if not signature.inputs:
        raise InvalidModel(
            f"signature {signature.name} has no inputs, so there is nothing to predict"
        )
    if sparse := _sparse_input(signature):
        raise InvalidModel(
            f"the inputs {sparse}, {sparse}_1 and {sparse}_2 are the parts of one sparse tensor:"
            f" {_DENSE_INPUT['sparse']}"
        )
    for name, spec in signature.inputs.items():
        if spec.encoding != "dense":
            raise InvalidModel(f"input {name} is {spec}: {_DENSE_INPUT[spec.encoding]}")
        if family(spec.dtype) == "complex":
            raise InvalidModel(
                f"input {name} is {spec}: complex numbers have no JSON form; export a signature"
                " with two inputs of numbers, and join them in it with tf.complex"
            )
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
    """Raise InvalidModel if there are no outputs, or an output has no JSON form."""
    if not signature.outputs:
        raise InvalidModel(
            f"signature {signature.name} has no outputs, so there is nothing to write"
        )
    others = [name for name, spec in signature.outputs.items() if has_json_form(spec)]
    for name, spec in signature.outputs.items():
        if spec.encoding != "dense":
            raise InvalidModel(
                f"output {name} is {spec}: {_DENSE_OUTPUT[spec.encoding]}{left_out_by(others)}"
            )
        if family(spec.dtype) == "complex":
            raise InvalidModel(
                f"output {name} is {spec}: complex numbers have no JSON form; export tf.math.real"
                f" and tf.math.imag of it{left_out_by(others)}"
            )
        if spec.shape == ():
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


def default_signature(names: Collection[str]) -> str:
    """The signature of a job that names none: `serving_default`, or the only one."""
    if DEFAULT_SIGNATURE not in names and len(names) == 1:
        return next(iter(names))
    return DEFAULT_SIGNATURE


def _sparse_input(signature: Signature) -> str | None:
    """The name of a tf.SparseTensor input, which a SavedModel stores as three dense inputs.

    They are its indices, values and shape: python/framework/sparse_tensor.py.
    """
    for name, spec in signature.inputs.items():
        values, shape = (signature.inputs.get(f"{name}_{part}") for part in (1, 2))
        if values is None or shape is None or spec.shape is None or len(spec.shape) != 2:
            continue
        integers = {dtype_name(spec.dtype), dtype_name(shape.dtype)} == {"int64"}
        if integers and values.shape == (None,) and shape.shape == spec.shape[1:]:
            return name
    return None


def has_json_form(spec: TensorSpec) -> bool:
    """Whether rows of an output can be written."""
    return spec.encoding == "dense" and family(spec.dtype) != "complex" and spec.shape != ()


def left_out_by(outputs: Iterable[str]) -> str:
    """The hint that output_filter can leave an output out, if other outputs can be written."""
    names = ",".join(outputs)
    return f"; output_filter={names} leaves it out" if names else ""


def fixed_batch_size(signature: Signature) -> int | None:
    """The batch size that the signature's first dimension fixes, or None.

    Raises InvalidModel if inputs fix different ones.
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
