"""Values as JSON gives them, in the dtype and the rank of an input."""

import numpy as np

from tfserving_launcher import TensorSpec
from tfserving_launcher.tensors import Array, family, integer_range


def cast_exactly(values: Array, spec: TensorSpec) -> Array | None:
    """64-bit values as the spec's dtype; None where an integer is out of its range.

    Beyond the largest finite value a float becomes infinite, as in TF Serving.
    """
    if family(spec.dtype) == "integer" and values.size:
        smallest, largest = integer_range(spec.dtype)
        if values.min() < smallest or values.max() > largest:
            return None
    if family(spec.dtype) == "float":
        # All ways round twice, as JSON's numbers are doubles: the same text gives the same float.
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
    """The batch with the last dimension of 1 that the spec has, where its rows lack it."""
    if ends_in_one(spec) and tensor.ndim == len(spec.shape or ()) - 1:
        return tensor[..., np.newaxis]
    return tensor
