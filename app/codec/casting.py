"""Numbers as JSON gives them, in the dtype of an input."""

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
