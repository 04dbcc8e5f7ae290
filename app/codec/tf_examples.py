"""tf.Example messages, written from JSON and read without TensorFlow.

Source: tensorflow/core/example/feature.proto; which JSON makes which feature is as in
tensorflow_serving/util/json_tensor.cc (FillClassifyRequestFromJson and what it calls).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pybase64
from google.protobuf.message import DecodeError

from app.codec.json_values import quoted, quoted_names
from app.codec.slow_path import Misfit, bytes_of, is_bytes
from tfserving_launcher.parse_spec import FeatureType, FeatureTypes
from tfserving_launcher.protos import Example

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
# Beyond it a double stands for several integers.
_LARGEST_EXACT = 2**53


def example_of(features: Any, types: FeatureTypes | None = None) -> bytes:
    """The serialized tf.Example of a JSON object: a value, or a list of values, for each feature.

    A feature of one of the `types` has values of that type. Of all others strings and
    `{"b64": "..."}` are bytes, integers and booleans int64, all other numbers float. What is None
    or NaN is left out. Raises Misfit.
    """
    if not isinstance(features, Mapping):
        raise Misfit(f"expected an object with features, found {quoted(features)}")
    example = Example()
    for name, value in features.items():
        if value is None or value != value:  # noqa: PLR0124  # only NaN is not equal to itself
            continue
        values = value if isinstance(value, list) else [value]
        wanted = types.get(name) if types else None
        if wanted is None:
            wanted, values = _told_by(name, values)
        else:
            convert = _CONVERSIONS[wanted]
            values = [convert(name, one) for one in values]
        feature = example.features.feature[name]
        if wanted is not None:
            getattr(feature, f"{wanted}_list").value.extend(values)
    serialized: bytes = example.SerializeToString()
    return serialized


def feature_json(record: bytes, name: str) -> bytes:
    """The JSON text of one feature of a serialized tf.Example; a list unless it has one value.

    Bytes that are no UTF-8 text are `{"b64": "..."}`. Raises Misfit.
    """
    try:
        features = Example.FromString(record).features.feature
    except DecodeError:
        raise Misfit("the record is no tf.Example, so it has no key") from None
    if name not in features:
        raise Misfit(
            f"missing, and it is the key field; found {quoted_names(features)}", field=name
        )
    kind = features[name].WhichOneof("kind")
    values = [] if kind is None else list(getattr(features[name], kind).value)
    if kind == "bytes_list":
        values = [text_or_base64(value) for value in values]
    elif kind == "float_list":
        if not np.isfinite(values).all():
            raise Misfit("a key that is no finite number has no JSON form", field=name)
        # Their shortest digits, which as doubles they would not have.
        values = list(np.array(values, np.float32))
    value = values[0] if len(values) == 1 else values
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def text_or_base64(value: bytes) -> str | dict[str, str]:
    """Bytes as JSON holds them."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": pybase64.b64encode_as_string(value)}


def _told_by(name: str, values: list[Any]) -> tuple[FeatureType | None, list[Any]]:
    """The type that the values have themselves; None where there is none of them."""
    kinds = {_kind(name, one) for one in values}
    if len(kinds) > 1:
        raise Misfit(
            f"expected values of one kind, found {' and '.join(sorted(kinds))}; an integer of a"
            " float feature is written with its point, as in 20.0",
            field=name,
        )
    kind = next(iter(kinds), None)
    if kind == "bytes":
        return kind, [bytes_of(one) for one in values]
    if kind == "int64":
        return kind, [_checked_int(name, int(one)) for one in values]
    return kind, values


def _kind(name: str, value: Any) -> FeatureType:
    if isinstance(value, str | bytes) or is_bytes(value):
        return "bytes"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float"
    raise Misfit(f"expected a string, a number or a boolean, found {quoted(value)}", field=name)


def _as_bytes(name: str, value: Any) -> bytes:
    try:
        return bytes_of(value)
    except Misfit as misfit:
        misfit.field = name
        raise


def _as_float(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise Misfit(f"expected a number (float), found {quoted(value)}", field=name)
    return float(value)


def _as_int64(name: str, value: Any) -> int:
    """Booleans are 0 and 1. Of a number with a point only those that surely were no other."""
    if isinstance(value, int):
        return _checked_int(name, int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return int(value)
    raise Misfit(f"expected an integer (int64), found {quoted(value)}", field=name)


_CONVERSIONS: dict[FeatureType, Callable[[str, Any], Any]] = {
    "bytes": _as_bytes,
    "float": _as_float,
    "int64": _as_int64,
}


def _checked_int(name: str, value: int) -> int:
    if not _SMALLEST <= value <= _LARGEST:
        raise Misfit(f"expected an integer of 64 bits, found {value}", field=name)
    return value
