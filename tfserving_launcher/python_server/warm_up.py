"""Replays the requests that a SavedModel brings for its warm-up, as the real server does.

Source: servables/tensorflow/saved_model_warmup.cc, saved_model_warmup_util.cc and
apis/prediction_log.proto. A TFRecord file of at most 1,000 PredictionLogs, one after the other;
whatever fails ends the load.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from tfserving_launcher.protos import PredictionLog
from tfserving_launcher.python_server.saved_model import Refusal
from tfserving_launcher.python_server.services import ServableModel
from tfserving_launcher.tensors import from_proto

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MOST_RECORDS = 1000
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


class WarmUpError(Exception):
    """A record cannot be read or replayed. `status` is the name of a code, and a message."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


def replay_warm_up_requests(model: ServableModel, version_dir: Path) -> int:
    """The number of requests that were replayed; 0 without a file. Raises WarmUpError."""
    path = version_dir / _FILE
    if not path.exists():
        return 0
    number = 0
    for number, record in enumerate(_records(path.read_bytes()), 1):
        if number > _MOST_RECORDS:
            raise WarmUpError(
                f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum ({_MOST_RECORDS})"
                f" at {path}"
            )
        _replay(model, PredictionLog.FromString(record))
    return number


def _replay(model: ServableModel, log: object) -> None:
    kind = log.WhichOneof("log_type")  # type: ignore[attr-defined]  # a generated message
    if kind is None:
        return
    if kind != "predict_log":
        raise WarmUpError(f"UNIMPLEMENTED: Unsupported log_type for warmup: {kind}")
    request = log.predict_log.request  # type: ignore[attr-defined]  # a generated message
    inputs = {name: from_proto(tensor) for name, tensor in request.inputs.items()}
    try:
        model.predict(request.model_spec.signature_name, inputs, list(request.output_filter))
    except Refusal as refusal:
        raise WarmUpError(f"{refusal.code}: {refusal}") from refusal


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file."""
    position = 0
    while position < len(content):
        length = _checked(content, position, _LENGTH.size)
        start = position + _LENGTH.size + _CHECKSUM.size
        size = _LENGTH.unpack(length)[0]
        yield _checked(content, start, size)
        position = start + size + _CHECKSUM.size


def _checked(content: bytes, start: int, size: int) -> bytes:
    data = content[start : start + size]
    checksum = content[start + size : start + size + _CHECKSUM.size]
    if len(data) < size or checksum != _CHECKSUM.pack(_masked_crc32c(data)):
        raise WarmUpError(
            "DATA_LOSS: Failed to read warm-up data: corrupted record at"
            f" {start}. Please verify your warmup data is in TFRecord format."
        )
    return data


def _masked_crc32c(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
