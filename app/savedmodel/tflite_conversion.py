"""Converts a SavedModel into a TensorFlow Lite model that TF Serving loads.

    python -m app.savedmodel.tflite_conversion REQUEST

A program of its own: TensorFlow is large, prints much, and may abort. REQUEST is a line of JSON
with the fields of ConversionRequest. Needs the whole TensorFlow package.

TF Serving takes names, types and shapes of a signature from the model's metadata; without them, a
signature has the names of tensors, and a batch of one row. Source: tflite_session.cc of TF Serving,
lite/tools/signature/signature_def_util.h of TensorFlow.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

_METADATA_NAME = "signature_defs_metadata"
_FILE_IDENTIFIER = b"TFL3"
_PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What to convert. `samples` is an .npz file with the inputs of sample rows, by name.

    precision   weights: float16; int8: weights, and what is computed, as far as it can be
    """

    source: str
    target: str
    signature_name: str
    precision: str
    samples: str

    def as_argument(self) -> str:
        return orjson.dumps(asdict(self)).decode()


def convert(request: ConversionRequest) -> None:
    """Raises whatever the converter raises for operations that it cannot convert."""
    tf: Any = importlib.import_module("tensorflow")
    converter = tf.lite.TFLiteConverter.from_saved_model(
        request.source, signature_keys=[request.signature_name]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    else:
        converter.representative_dataset = _sample_rows(request.samples)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    definition = _signature_def(tf, request)
    Path(request.target).write_bytes(
        _with_signature(converter.convert(), request.signature_name, definition)
    )


def _sample_rows(samples: str) -> Callable[[], Iterator[dict[str, Any]]]:
    def rows() -> Iterator[dict[str, Any]]:
        with np.load(samples) as arrays:
            columns = dict(arrays)
        for index in range(len(next(iter(columns.values())))):
            yield {name: array[index : index + 1] for name, array in columns.items()}

    return rows


def _signature_def(tf: Any, request: ConversionRequest) -> Any:
    loader = importlib.import_module("tensorflow.python.saved_model.loader_impl")
    saved_model = loader.parse_saved_model(request.source)
    for meta_graph in saved_model.meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return meta_graph.signature_def[request.signature_name]
    raise ValueError("the SavedModel has no graph with the tag serve")


def _with_signature(content: bytes, name: str, definition: Any) -> bytes:
    """The model with its SignatureDef in the metadata, where tensors have their names here."""
    flatbuffers = importlib.import_module("flatbuffers")
    schema = importlib.import_module("tensorflow.lite.python.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (signature,) = model.signatureDefs
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    for maps, infos in (
        (signature.inputs, definition.inputs),
        (signature.outputs, definition.outputs),
    ):
        for one in maps:
            infos[one.name.decode()].name = tensors[one.tensorIndex].name.decode()
    definition.method_name = _PREDICT
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_flexbuffer_map(name, definition.SerializeToString()), np.uint8)
    model.buffers.append(buffer)
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = _METADATA_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), metadata]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def _flexbuffer_map(key: str, value: bytes) -> bytes:
    flexbuffers: Any = importlib.import_module("flatbuffers.flexbuffers")
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key(key)
        # A string, as the reader expects, of bytes that are no text, which `String` would refuse.
        builder._WriteBlob(value, append_zero=True, type_=flexbuffers.Type.STRING)  # noqa: SLF001
    return bytes(builder.Finish())


if __name__ == "__main__":
    convert(ConversionRequest(**orjson.loads(sys.argv[1])))
