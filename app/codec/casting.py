"""Casts parsed values to the dtype and the rank of an input."""

import numpy as np

from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, integer_range


def cast_exactly(values: Array, spec: TensorSpec) -> Array | None:
    """Cast 64-bit values to the spec's dtype, or return None if an integer is out of range.

    A float beyond the largest finite value becomes infinite, as in TF Serving.
    """
    if family(spec.dtype) == "integer" and values.size:
        smallest, largest = integer_range(spec.dtype)
        if values.min() < smallest or values.max() > largest:
            return None
    if family(spec.dtype) == "float":
        # All paths cast through double, as JSON numbers are, so the same text gives the same float.
        values = values.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        return values.astype(spec.dtype, copy=False)


def ends_in_one(spec: TensorSpec) -> bool:
    """Whether a row's last dimension is 1, as Keras exports a scalar column: [?, 1]."""
    return spec.shape is not None and len(spec.shape) > 1 and spec.shape[-1] == 1


def holds_one_value(spec: TensorSpec) -> bool:
    """Whether a row may be one value, or a list of one."""
    return spec.shape is None or len(spec.shape) - ends_in_one(spec) == 1


def with_last_dimension(tensor: Array, spec: TensorSpec) -> Array:
    """Add a last dimension of 1 to the batch if the spec has it and the rows lack it."""
    if ends_in_one(spec) and tensor.ndim == len(spec.shape or ()) - 1:
        return tensor[..., np.newaxis]
    return tensor
