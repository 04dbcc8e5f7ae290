"""A `saved_model.pb` without TensorFlow, message by message: parsed whole, it takes several times
its size in memory.

Source: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from tfserving_launcher._errors import NotASavedModel
from tfserving_launcher._signatures import Signature, read_signature
from tfserving_launcher.protos import SignatureDef
from tfserving_launcher.wire_format import length_fields

SAVED_MODEL_FILE = "saved_model.pb"
SAVED_MODEL_TEXT_FILE = "saved_model.pbtxt"
# Source: kTfLiteModelFilename in servables/tensorflow/saved_model_bundle_factory.cc.
TFLITE_FILE = "model.tflite"
# Operations that a SavedModel lists as signatures: python/saved_model/constants.py.
OP_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")

_SERVE = b"serve"
# Field numbers.
_META_GRAPHS = 2
_META_INFO, _SIGNATURES = 1, 5
_TAGS = 4
_KEY, _VALUE = 1, 2


def read_signatures(saved_model: Path) -> dict[str, Signature]:
    """The signatures that a model server offers, sorted by name.

    Raises NotASavedModel where the file is none, and TensorError where a tensor of a signature is
    of a type that NumPy cannot hold.
    """
    try:
        meta_graph = served_graph(saved_model.read_bytes())
        definitions = {} if meta_graph is None else dict(signature_defs(meta_graph))
    except (ValueError, DecodeError) as error:
        raise NotASavedModel(f"{saved_model.name} cannot be read: {error}") from None
    if meta_graph is None:
        raise NotASavedModel(f"{saved_model.name} has no graph with the tag {_SERVE.decode()}")
    return {
        name: read_signature(name, definitions[name])
        for name in sorted(definitions.keys() - OP_SIGNATURES)
    }


def served_graph(content: bytes) -> memoryview | None:
    """The MetaGraphDef that a model server loads. Raises ValueError where there is no message."""
    graphs = fields(memoryview(content), _META_GRAPHS)
    return next((graph for graph in graphs if _tags(graph) == [_SERVE]), None)


def signature_defs(meta_graph: memoryview) -> Iterator[tuple[str, Any]]:
    """Each SignatureDef by its name. Raises ValueError or DecodeError."""
    for name, value in map_entries(meta_graph, _SIGNATURES):
        yield name.decode(), SignatureDef.FromString(bytes(value))


def map_entries(message: memoryview, number: int) -> Iterator[tuple[bytes, memoryview]]:
    """The entries of the map in the field of this number."""
    for entry in fields(message, number):
        parts = dict(length_fields(entry))
        yield bytes(parts.get(_KEY, b"")), parts.get(_VALUE, memoryview(b""))


def fields(message: memoryview, number: int) -> Iterator[memoryview]:
    """The content of each field of this number."""
    return (content for found, content in length_fields(message) if found == number)


def node_of(tensor: str) -> str:
    """The node of `node`, `node:0`, `node:output:0` or `^node`."""
    return tensor.removeprefix("^").partition(":")[0]


def _tags(meta_graph: memoryview) -> list[bytes]:
    return [bytes(tag) for info in fields(meta_graph, _META_INFO) for tag in fields(info, _TAGS)]
