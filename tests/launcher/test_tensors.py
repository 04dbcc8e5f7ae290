from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from tfserving_launcher import TensorError
from tfserving_launcher.protos import DataType, TensorProto
from tfserving_launcher.tensors import (
    STRING,
    Array,
    from_proto,
    to_proto,
    to_proto_with_content,
    to_proto_with_fields,
)

NUMBERS = [
    np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16,
    np.uint32, np.uint64, np.bool_, np.complex64, np.complex128, ml_dtypes.bfloat16,
    ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.uint4,
]  # fmt: skip


@pytest.mark.parametrize("encode", [to_proto, to_proto_with_fields])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_an_array_of_every_dtype_comes_back_as_it_was(
    dtype: type, encode: Callable[[Array], object]
) -> None:
    array: Array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    back = from_proto(encode(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("encode", [to_proto, to_proto_with_content, to_proto_with_fields])
def test_strings_come_back_as_bytes_in_their_shape(encode: Callable[[Array], object]) -> None:
    array = np.array([[b"a", b""], [b"\xff\x00" * 100_000, "é".encode()]], STRING)
    back = from_proto(encode(array))
    assert back.dtype == STRING
    assert back.tolist() == array.tolist()


def test_tensor_content_strings_have_lengths_first() -> None:
    """Strings in tensor content are lengths and then bytes."""
    proto = TensorProto(dtype=DataType.Value("DT_STRING"))
    proto.tensor_shape.dim.add(size=3)
    proto.tensor_content = b"\x02\x00\x80\x01" + b"ab" + b"c" * 128
    assert from_proto(proto).tolist() == [b"ab", b"", b"c" * 128]
    assert to_proto_with_content(from_proto(proto)) == proto


@pytest.mark.parametrize("content", [b"\x02\x01ab", b"\x02", b"\x01\x01abc", b"\x80"])
def test_wrong_tensor_content_strings_are_errors(content: bytes) -> None:
    """Strings in tensor content that do not add up are an error."""
    proto = TensorProto(dtype=DataType.Value("DT_STRING"), tensor_content=content)
    proto.tensor_shape.dim.add(size=2)
    with pytest.raises(TensorError, match="2 strings"):
        from_proto(proto)


def test_a_transposed_array_travels_in_its_own_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    np.testing.assert_array_equal(from_proto(to_proto(array)), array)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_scalars_and_empty_arrays_keep_their_shape(shape: tuple[int, ...]) -> None:
    assert from_proto(to_proto(np.zeros(shape, np.float32))).shape == shape


@pytest.mark.parametrize(
    ("name", "field", "values", "expected"),
    [
        ("DT_FLOAT", "float_val", [1.5, -2.0], np.array([1.5, -2.0], np.float32)),
        ("DT_DOUBLE", "double_val", [0.1, 2.0], np.array([0.1, 2.0])),
        ("DT_INT8", "int_val", [-1, 127], np.array([-1, 127], np.int8)),
        ("DT_UINT8", "int_val", [1, 255], np.array([1, 255], np.uint8)),
        ("DT_INT32", "int_val", [-5, 6], np.array([-5, 6], np.int32)),
        ("DT_INT64", "int64_val", [2**62, -1], np.array([2**62, -1], np.int64)),
        ("DT_UINT64", "uint64_val", [2**64 - 1, 0], np.array([2**64 - 1, 0], np.uint64)),
        ("DT_BOOL", "bool_val", [True, False], np.array([True, False])),
        ("DT_HALF", "half_val", [0x3C00, 0xC000], np.array([1.0, -2.0], np.float16)),
        ("DT_BFLOAT16", "half_val", [0x3F80, 0xC000], np.array([1, -2], ml_dtypes.bfloat16)),
        ("DT_COMPLEX64", "scomplex_val", [1, 2, 3, 4], np.array([1 + 2j, 3 + 4j], np.complex64)),
    ],
)
def test_repeated_fields_are_read_like_tensor_content(
    name: str, field: str, values: list[float], expected: np.ndarray
) -> None:
    proto = TensorProto(dtype=DataType.Value(name))
    proto.tensor_shape.dim.add(size=2)
    getattr(proto, field).extend(values)
    back = from_proto(proto)
    assert back.dtype == expected.dtype
    np.testing.assert_array_equal(back, expected)


def test_last_value_fills_missing_ones() -> None:
    """The last value stands for those that are missing."""
    proto = TensorProto(dtype=DataType.Value("DT_FLOAT"), float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add(size=4)
    assert from_proto(proto).tolist() == [1.0, 2.0, 2.0, 2.0]


def test_no_value_at_all_stands_for_zeros() -> None:
    proto = TensorProto(dtype=DataType.Value("DT_INT64"))
    proto.tensor_shape.dim.add(size=2)
    assert from_proto(proto).tolist() == [0, 0]


def test_more_values_than_the_shape_has_are_an_error() -> None:
    proto = TensorProto(dtype=DataType.Value("DT_FLOAT"), float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add(size=1)
    with pytest.raises(TensorError, match="2 values"):
        from_proto(proto)


def test_content_of_the_wrong_length_is_an_error() -> None:
    proto = TensorProto(dtype=DataType.Value("DT_FLOAT"), tensor_content=b"12345")
    proto.tensor_shape.dim.add(size=2)
    with pytest.raises(TensorError, match="takes 8 bytes, 5 came"):
        from_proto(proto)


def test_a_dtype_that_numpy_cannot_hold_is_named() -> None:
    with pytest.raises(TensorError, match="DT_RESOURCE"):
        from_proto(TensorProto(dtype=DataType.Value("DT_RESOURCE")))
