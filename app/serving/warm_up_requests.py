"""Reads files of serialized requests, which are sent to a model ahead of the first row.

Their forms are a PredictRequest, a TFRecord file of those, and TF Serving's own
`assets.extra/tf_serving_warmup_requests`, a TFRecord file of PredictionLogs.
Source: tensorflow.org/tfx/serving/saved_model_warmup.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from app.errors import TooLarge, WarmUpFailed
from app.framing.tfrecord import FrameLost, is_frame, read_frames
from app.serving.supervised_server import Tensors
from app.settings import MEBIBYTE
from tfserving_launcher import DEFAULT_SIGNATURE, TensorError
from tfserving_launcher.protos import PredictionLog, PredictRequest
from tfserving_launcher.tensors import dtype_of, from_proto

# The limits of a file. TF Serving has the same number of requests (saved_model_warmup_util.h).
MOST_REQUESTS = 1000
MOST_BYTES = 64 * MEBIBYTE
_WARM_UP_NAME = "tf_serving_warmup_requests"
WARM_UP_FILE = f"assets.extra/{_WARM_UP_NAME}"
_REQUEST_SUFFIX = ".bin"


@dataclass(frozen=True, slots=True)
class WarmUpRequest:
    """A request for one signature. `output_filter` names the outputs; () means all. The rows are
    repeated until there are `rows`, if that is given; `constants` are sent beside them.
    """

    tensors: Tensors
    signature_name: str = DEFAULT_SIGNATURE
    output_filter: tuple[str, ...] = ()
    rows: int | None = None
    constants: Tensors = field(default_factory=dict)


def holds_messages(name: str) -> bool:
    """Whether a file of this name holds serialized requests, and not lines."""
    return (
        name.endswith(_REQUEST_SUFFIX) or PurePosixPath(name).name == "tf_serving_warmup_requests"
    )


def parse_requests(content: bytes, file: str) -> Iterator[WarmUpRequest]:
    """The requests in a file, in order. Raises WarmUpFailed, with the number of the request, and
    TooLarge if their tensors take more than MOST_BYTES.
    """
    left = MOST_BYTES
    for number, message in enumerate(_messages(content, file), 1):
        try:
            request = _parsed(message, is_log=not file.endswith(_REQUEST_SUFFIX))
            # A short message may say that one value fills a large tensor.
            left -= sum(map(_tensor_bytes, request.inputs.values()))
            if left < 0:
                raise TooLarge(
                    f"warm-up: {file}, request {number}: the tensors so far take more than"
                    f" {MOST_BYTES} bytes"
                )
            yield _request(request)
        except (DecodeError, TensorError, ValueError) as error:
            raise WarmUpFailed(f"warm-up: {file}, request {number}: {error}") from None


def _messages(content: bytes, file: str) -> Iterator[bytes]:
    if file.endswith(_REQUEST_SUFFIX) and not is_frame(content[:64]):
        yield content
        return
    number = 0
    try:
        for frames in read_frames([content], max_bytes=MOST_BYTES):
            damaged = set(frames.damaged())
            for index, message in enumerate(frames.contents):
                number += 1
                if index in damaged:
                    raise WarmUpFailed(
                        f"warm-up: {file}, request {number} is damaged: its data does not match its"
                        " checksum"
                    )
                yield message
    except FrameLost as error:
        raise WarmUpFailed(
            f"warm-up: {file}, request {number + 1}, at byte {error.position}: the file is no"
            f" TFRecord file from here on: {error}"
        ) from None


def _parsed(message: bytes, *, is_log: bool) -> Any:
    """The PredictRequest. Raises DecodeError and ValueError."""
    if is_log:
        log = PredictionLog.FromString(message)
        kind = log.WhichOneof("log_type")
        if kind != "predict_log":
            raise ValueError(f"expected a PredictionLog with predict_log, it has {kind}")
        request = log.predict_log.request
    else:
        request = PredictRequest.FromString(message)
    if not request.inputs:
        raise ValueError("expected a PredictRequest with inputs, it has none")
    return request


def _tensor_bytes(tensor: Any) -> int:
    """Raises TensorError."""
    sizes = (dimension.size for dimension in tensor.tensor_shape.dim)
    elements: int = math.prod(max(0, size) for size in sizes)
    return elements * dtype_of(tensor.dtype).itemsize


def _request(request: Any) -> WarmUpRequest:
    """Raises TensorError and ValueError."""
    return WarmUpRequest(
        {name: from_proto(tensor) for name, tensor in request.inputs.items()},
        request.model_spec.signature_name or DEFAULT_SIGNATURE,
        tuple(request.output_filter),
    )
