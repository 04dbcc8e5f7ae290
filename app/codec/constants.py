"""Constant inputs: values that are the same for all rows, such as TF1's keep_prob."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from app.codec.json_values import quoted_names
from app.codec.slow_path import Misfit, check_shape, read_row
from app.errors import InvalidArgument
from tfserving_launcher import Signature, TensorSpec
from tfserving_launcher.tensors import Array


def read_constants(values: Mapping[str, Any], signature: Signature) -> dict[str, Array]:
    """Convert constants to tensors of the full shape of their inputs.

    Raises InvalidArgument for unknown inputs and for values that do not fit.
    """
    _check_names("constants", values, signature.inputs, "input", signature)
    return {name: _tensor(value, signature.inputs[name], name) for name, value in values.items()}


def narrow_signature(
    signature: Signature, constants: Iterable[str], output_filter: Iterable[str]
) -> Signature:
    """Return the signature without the constants, and with the chosen outputs only.

    Raises InvalidArgument for unknown outputs.
    """
    constants, chosen = set(constants), tuple(output_filter)
    _check_names("output_filter", chosen, signature.outputs, "output", signature)
    if signature.inputs and not signature.inputs.keys() - constants:
        raise InvalidArgument(
            f"constants: all inputs of signature {signature.name} are constants, so rows have no"
            f" input: {quoted_names(signature.inputs)}",
            {"parameters": ["constants"]},
        )
    return dataclasses.replace(
        signature,
        inputs={name: spec for name, spec in signature.inputs.items() if name not in constants},
        outputs={
            name: spec for name, spec in signature.outputs.items() if not chosen or name in chosen
        },
        defaults={n: value for n, value in signature.defaults.items() if n not in constants},
    )


def _check_names(
    parameter: str,
    names: Iterable[str],
    specs: Mapping[str, TensorSpec],
    what: str,
    signature: Signature,
) -> None:
    if unknown := [name for name in names if name not in specs]:
        raise InvalidArgument(
            f"{parameter}: signature {signature.name} has no {what} {quoted_names(unknown)}, only"
            f" {', '.join(f'{name}: {spec}' for name, spec in specs.items())}",
            {"parameters": [parameter]},
        )


def _tensor(value: Any, spec: TensorSpec, name: str) -> Array:
    # Read the value as one row of a batch.
    row_spec = TensorSpec(spec.dtype, None if spec.shape is None else (None, *spec.shape))
    try:
        tensor = read_row(value, row_spec, name)
        check_shape(tensor.shape, row_spec, name)
    except Misfit as misfit:
        raise InvalidArgument(
            f"constants: input {misfit.field} is {spec}: {misfit}", {"parameters": ["constants"]}
        ) from None
    return tensor
