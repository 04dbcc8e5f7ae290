"""Which features a signature's graph parses out of tf.Examples, and their types.

Read from the `saved_model.pb` itself, without TensorFlow, a node at a time: parsed whole, a file of
30 MB takes more than 200 MB of memory.
Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, graph.proto, function.proto,
and the operations ParseExample, ParseExampleV2 and ParseSingleExample in core/ops/parsing_ops.cc.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

from google.protobuf.message import DecodeError

from tfserving_launcher._errors import TensorError
from tfserving_launcher.protos import DataType, NodeDef
from tfserving_launcher.saved_model import fields, node_of, served_graph, signature_defs
from tfserving_launcher.tensors import from_proto

FeatureType = Literal["bytes", "float", "int64"]
# By name. A feature that two nodes parse with different types is not among them.
FeatureTypes = Mapping[str, FeatureType]

LARGEST_FILE_BYTES = 32 * 1024 * 1024
# The names and inputs of so many nodes take about 30 MB.
_MOST_NODES = 100_000
# A list of keys is far shorter; what is longer are weights.
_LARGEST_KEYS_BYTES = 1024 * 1024
_MOST_KEYS = 100_000
_PARSING = ("ParseExample", "ParseExampleV2", "ParseSingleExample")

# Field numbers.
_GRAPH = 2
_GRAPH_NODES, _LIBRARY = 1, 2
_FUNCTIONS = 1
_FUNCTION_SIGNATURE, _FUNCTION_NODES = 1, 3
_FUNCTION_NAME = 1

logger = logging.getLogger(__name__)


def read_parse_spec(saved_model: Path, signature_name: str) -> FeatureTypes | None:
    """The features that the signature parses, of which some or all may not be told by the graph.

    None where it parses none, and where that is not found out: there is no such file (it may be
    text), it is too large, or a server takes it that is less strict than Python's reader.
    """
    if not saved_model.exists():
        return None
    with saved_model.open("rb") as file:
        content = file.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        logger.warning("%s is too large to look for what its graph parses", saved_model)
        return None
    try:
        return _spec_in(content, signature_name)
    except (ValueError, DecodeError, TensorError) as error:
        logger.warning("what the graph of %s parses cannot be read: %s", saved_model, error)
        return None


def _spec_in(content: bytes, signature_name: str) -> FeatureTypes | None:
    if not any(name.encode() in content for name in ("ParseExample", "ParseSingleExample")):
        return None
    meta_graph = served_graph(content)
    if meta_graph is None:
        return None
    signature = dict(signature_defs(meta_graph)).get(signature_name)
    if signature is None:
        return None
    return _features(meta_graph, {node_of(info.name) for info in signature.outputs.values()})


@dataclass(slots=True)
class _Nodes:
    """What matters of a graph, or of a function's body, by the names of its nodes."""

    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    parsing: dict[str, Any] = field(default_factory=dict)
    strings: dict[str, Any] = field(default_factory=dict)

    def add(self, content: memoryview, *, with_inputs: bool) -> None:
        if len(content) > _LARGEST_KEYS_BYTES:
            return
        node = NodeDef.FromString(bytes(content))
        if with_inputs and node.input:
            self.inputs[node.name] = tuple(map(node_of, node.input))
        if node.op in _PARSING:
            self.parsing[node.name] = node
        elif node.op == "Const":
            if node.attr["dtype"].type == DataType.Value("DT_STRING"):
                self.strings[node.name] = node.attr["value"].tensor
        elif called := set(_functions_of(node)):
            self.calls[node.name] = called

    def reaching(self, outputs: Iterable[str]) -> set[str]:
        """The nodes that the outputs follow from."""
        waiting, reached = list(outputs), set(outputs)
        while waiting:
            for name in self.inputs.get(waiting.pop(), ()):
                if name not in reached:
                    reached.add(name)
                    waiting.append(name)
        return reached


def _features(meta_graph: memoryview, outputs: set[str]) -> FeatureTypes | None:
    main, functions = _Nodes(), {}
    for graph in fields(meta_graph, _GRAPH):
        for node in fields(graph, _GRAPH_NODES):
            main.add(node, with_inputs=True)
            if len(main.inputs) > _MOST_NODES:
                return None
        for library in fields(graph, _LIBRARY):
            for function in fields(library, _FUNCTIONS):
                functions[_function_name(function)] = body = _Nodes()
                for node in fields(function, _FUNCTION_NODES):
                    body.add(node, with_inputs=False)
    reached = main.reaching(outputs)
    parsing = [(node, main) for name, node in main.parsing.items() if name in reached]
    called = {name for node in main.calls.keys() & reached for name in main.calls[node]}
    waiting = list(called)
    while waiting:
        body = functions.get(waiting.pop(), _Nodes())
        parsing += [(node, body) for node in body.parsing.values()]
        new = {name for names in body.calls.values() for name in names} - called
        called |= new
        waiting += new
    return _agreed(_parsed(node, nodes) for node, nodes in parsing) if parsing else None


def _agreed(parsed: Iterable[dict[str, int]]) -> FeatureTypes:
    kinds: dict[int, FeatureType] = {
        DataType.Value("DT_STRING"): "bytes",
        DataType.Value("DT_FLOAT"): "float",
        DataType.Value("DT_INT64"): "int64",
    }
    types: dict[str, set[int]] = {}
    for features in parsed:
        for name, data_type in features.items():
            types.setdefault(name, set()).add(data_type)
    return {
        name: kinds[next(iter(found))]
        for name, found in types.items()
        if len(found) == 1 and found <= kinds.keys()
    }


def _parsed(node: Any, nodes: _Nodes) -> dict[str, int]:
    """The type of each feature whose name is a constant, as a DataType."""
    attributes = node.attr
    sparse, dense = attributes["sparse_types"].list.type, attributes["Tdense"].list.type
    if node.op == "ParseSingleExample":
        names = [
            [key.decode() for key in attributes[keys].list.s]
            for keys in ("sparse_keys", "dense_keys")
        ]
        return dict(_paired(names, [sparse, dense]))
    # serialized and names come first.
    keys = [_constant(source, nodes) for source in node.input[2:]]
    if node.op == "ParseExample":
        # A scalar for each key.
        flat = [None if key is None else key[0] for key in keys[: len(sparse) + len(dense)]]
        return {
            name: data_type
            for name, data_type in zip(flat, [*sparse, *dense], strict=True)
            if name is not None
        }
    ragged = attributes["ragged_value_types"].list.type
    return dict(_paired(keys[:3], [sparse, dense, ragged]))


def _paired(
    names: Iterable[list[str] | None], types: Iterable[Iterable[int]]
) -> Iterator[tuple[str, int]]:
    for group, group_types in zip(names, types, strict=True):
        if group is not None:
            yield from zip(group, group_types, strict=True)


def _constant(source: str, nodes: _Nodes) -> list[str] | None:
    """The strings of a constant node; None for any other."""
    tensor = nodes.strings.get(node_of(source))
    # A tensor may stand for more values than it holds.
    if tensor is None or prod(dim.size for dim in tensor.tensor_shape.dim) > _MOST_KEYS:
        return None
    return [value.decode() for value in from_proto(tensor).ravel().tolist()]


def _functions_of(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        elif value.HasField("list"):
            yield from (function.name for function in value.list.func)


def _function_name(function: memoryview) -> str:
    names = [
        bytes(name).decode()
        for signature in fields(function, _FUNCTION_SIGNATURE)
        for name in fields(signature, _FUNCTION_NAME)
    ]
    return names[0] if names else ""
