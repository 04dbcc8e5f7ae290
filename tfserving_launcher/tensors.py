"""NumPy arrays to TensorProto and back.

Source of the format: tensorflow/core/framework/tensor.proto and types.proto. Strings are arrays of
dtype object that hold `bytes`. All others are C-contiguous arrays in native byte order.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tfserving_launcher._errors import TensorError
from tfserving_launcher.protos import DataType, TensorProto

Array = NDArray[np.generic]

Family = Literal["float", "integer", "bool", "string", "complex"]

STRING = np.dtype(object)

_INT4 = (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4))


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How a dtype travels in repeated fields.

    `bits` is the integer type whose values such a field holds instead, `part` the type of the real
    and imaginary parts that it holds in turn.
    """

    dtype: np.dtype[np.generic]
    field: str
    bits: np.dtype[np.generic] | None = None
    part: np.dtype[np.generic] | None = None


def _encodings() -> dict[int, _Encoding]:
    uint16 = np.dtype(np.uint16)
    known = {
        "DT_FLOAT": _Encoding(np.dtype(np.float32), "float_val"),
        "DT_DOUBLE": _Encoding(np.dtype(np.float64), "double_val"),
        "DT_INT8": _Encoding(np.dtype(np.int8), "int_val"),
        "DT_INT16": _Encoding(np.dtype(np.int16), "int_val"),
        "DT_INT32": _Encoding(np.dtype(np.int32), "int_val"),
        "DT_INT64": _Encoding(np.dtype(np.int64), "int64_val"),
        "DT_UINT8": _Encoding(np.dtype(np.uint8), "int_val"),
        "DT_UINT16": _Encoding(np.dtype(np.uint16), "int_val"),
        "DT_UINT32": _Encoding(np.dtype(np.uint32), "uint32_val"),
        "DT_UINT64": _Encoding(np.dtype(np.uint64), "uint64_val"),
        "DT_BOOL": _Encoding(np.dtype(np.bool_), "bool_val"),
        "DT_STRING": _Encoding(STRING, "string_val"),
        "DT_HALF": _Encoding(np.dtype(np.float16), "half_val", uint16),
        "DT_BFLOAT16": _Encoding(np.dtype(ml_dtypes.bfloat16), "half_val", uint16),
        "DT_COMPLEX64": _Encoding(
            np.dtype(np.complex64), "scomplex_val", part=np.dtype(np.float32)
        ),
        "DT_COMPLEX128": _Encoding(
            np.dtype(np.complex128), "dcomplex_val", part=np.dtype(np.float64)
        ),
        "DT_FLOAT8_E5M2": _Encoding(np.dtype(ml_dtypes.float8_e5m2), "float8_val"),
        "DT_FLOAT8_E4M3FN": _Encoding(np.dtype(ml_dtypes.float8_e4m3fn), "float8_val"),
        "DT_INT4": _Encoding(np.dtype(ml_dtypes.int4), "int_val"),
        "DT_UINT4": _Encoding(np.dtype(ml_dtypes.uint4), "int_val"),
    }
    return {DataType.Value(name): encoding for name, encoding in known.items()}


_ENCODINGS = _encodings()
_DATA_TYPES = {encoding.dtype: data_type for data_type, encoding in _ENCODINGS.items()}


def dtype_of(data_type: int) -> np.dtype[np.generic]:
    """The NumPy dtype of a `DataType` number; TensorError where NumPy cannot hold it."""
    return _encoding(data_type).dtype


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """TensorFlow's name: `float32`, `string`, `bfloat16`."""
    return "string" if dtype == STRING else dtype.name


@cache
def family(dtype: np.dtype[np.generic]) -> Family:
    """What kind of values a dtype holds; `dtype.kind` does not know those of ml_dtypes."""
    if dtype.kind in "OSU":
        return "string"
    if dtype == np.bool_:
        return "bool"
    if np.issubdtype(dtype, np.complexfloating):
        return "complex"
    return "integer" if np.issubdtype(dtype, np.integer) or dtype in _INT4 else "float"


def integer_range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The smallest and the largest value of an integer dtype."""
    limits = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # knows int4, as NumPy's does not
    return int(limits.min), int(limits.max)


def string_array(values: Sequence[Any]) -> Array:
    """An array of one dimension that holds these very `bytes`: NumPy's own would cut their NULs."""
    strings = np.empty(len(values), STRING)
    strings[:] = values
    return strings


def to_proto(array: Array) -> Any:
    """A TensorProto; the values travel as `tensor_content`, except strings, which have none."""
    if array.dtype == STRING:
        return to_proto_with_fields(array)
    return _shaped_proto(array, tensor_content=array.tobytes())


def to_proto_with_content(array: Array) -> Any:
    """A TensorProto whose values travel as `tensor_content`, those of strings as well."""
    if array.dtype != STRING:
        return to_proto(array)
    return _shaped_proto(array, tensor_content=_encode_strings(array.ravel().tolist()))


def to_proto_with_fields(array: Array) -> Any:
    """A TensorProto whose values travel in the repeated field of their type."""
    proto = _shaped_proto(array)
    encoding = _encoding(proto.dtype)
    if encoding.field == "float8_val":
        proto.float8_val = array.tobytes()
        return proto
    flat = array.ravel()
    if encoding.bits is not None:
        flat = flat.view(encoding.bits)
    elif encoding.part is not None:
        flat = flat.view(encoding.part)
    getattr(proto, encoding.field).extend(flat.tolist())
    return proto


def _shaped_proto(array: Array, **content: bytes) -> Any:
    data_type = _DATA_TYPES.get(array.dtype)
    if data_type is None:
        raise TensorError(f"TensorFlow has no tensor of dtype {array.dtype}")
    proto = TensorProto(dtype=data_type, **content)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def from_proto(proto: Any) -> Array:
    """The array of a TensorProto in either encoding; TensorError where sizes do not agree.

    Shape: `tensor_shape`. The array may be read-only. In the repeated fields the last value stands
    for all that are missing, and no value at all for zeros (tensor.proto, "tensor_content").
    """
    encoding = _encoding(proto.dtype)
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    size = int(np.prod(shape, dtype=np.int64))
    if proto.tensor_content:
        return _from_content(proto.tensor_content, encoding.dtype, shape, size)
    values = _from_values(getattr(proto, encoding.field), encoding)
    if len(values) > size:
        raise TensorError(f"a tensor of shape {shape} came with {len(values)} values")
    if len(values) < size:
        filler = values[-1:] if len(values) else _zero(encoding.dtype)
        values = np.concatenate([values, np.repeat(filler, size - len(values))])
    return values.reshape(shape)


def _encoding(data_type: int) -> _Encoding:
    try:
        return _ENCODINGS[data_type]
    except KeyError:
        name = DataType.Name(data_type) if data_type in DataType.values() else f"type {data_type}"
        raise TensorError(f"tensors of {name} cannot be held in NumPy") from None


def _from_content(
    content: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...], size: int
) -> Array:
    if dtype == STRING:
        return _decode_strings(content, size).reshape(shape)
    if len(content) != size * dtype.itemsize:
        raise TensorError(
            f"a {dtype_name(dtype)} tensor of shape {shape} takes {size * dtype.itemsize} bytes,"
            f" {len(content)} came"
        )
    array: Array = np.frombuffer(content, dtype)
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.reshape(shape)


def _from_values(values: Any, encoding: _Encoding) -> Array:
    if encoding.dtype == STRING:
        return string_array(values)
    if encoding.field == "float8_val":
        return np.frombuffer(values, encoding.dtype)
    if encoding.part is not None:
        return np.array(values, encoding.part).view(encoding.dtype)
    if encoding.bits is not None:
        return np.array(values, encoding.bits).view(encoding.dtype)
    if encoding.field == "int_val" and encoding.dtype.itemsize < np.dtype(np.int32).itemsize:
        # The field holds 32-bit integers; a small type is cut from them as C++ does.
        return np.array(values, np.int32).astype(encoding.dtype)
    return np.array(values, encoding.dtype)


def _encode_strings(values: list[bytes]) -> bytes:
    """All lengths as base-128 varints, then all bytes.

    Source: EncodeStringList in tensorflow/core/platform/tensor_coding.cc.
    """
    lengths = bytearray()
    for value in values:
        length = len(value)
        while length >= 0x80:
            lengths.append(length & 0x7F | 0x80)
            length >>= 7
        lengths.append(length)
    return bytes(lengths) + b"".join(values)


def _decode_strings(content: bytes, count: int) -> Array:
    lengths, start = _read_varints(content, count)
    if start + sum(lengths) != len(content):
        raise TensorError(
            f"{count} strings of {start + sum(lengths)} bytes were announced, {len(content)} came"
        )
    offsets = list(accumulate(lengths, initial=start))
    return string_array([content[offset:end] for offset, end in pairwise(offsets)])


def _read_varints(content: bytes, count: int) -> tuple[list[int], int]:
    """The values, and where they end."""
    if len(content) >= count and content[:count].isascii():
        return list(content[:count]), count  # none needs a second byte
    values: list[int] = []
    value = shift = position = 0
    while len(values) < count:
        if position == len(content):
            raise TensorError(f"{count} strings were announced, {len(values)} lengths came")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    return values, position


def _zero(dtype: np.dtype[np.generic]) -> Array:
    return np.array([b""], STRING) if dtype == STRING else np.zeros(1, dtype)
