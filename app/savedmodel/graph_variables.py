"""Whether the signatures of a `saved_model.pb` can do without the files of its variables.

The graph is read a node at a time: parsed whole, it takes several times its size in memory.
Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, framework/graph.proto and
node_def.proto; that variables without files are no error when a model is loaded:
tensorflow/cc/saved_model/loader.cc (RunRestore).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from tfserving_launcher.protos import CollectionDef, SignatureDef
from tfserving_launcher.wire_format import length_fields

# Field numbers.
_META_GRAPHS = 2
_META_INFO, _GRAPH, _COLLECTIONS, _SIGNATURES = 1, 2, 4, 5
_TAGS = 4
_NODES = 1
_NAME, _OP, _INPUT = 1, 2, 3
_KEY, _VALUE = 1, 2

_SERVE = b"serve"
_VARIABLES = (b"VarHandleOp", b"VariableV2", b"Variable")
# What runs once the model is loaded, and may give variables their values.
_INIT_SIGNATURE = b"__saved_model_init_op"
_TRAIN_SIGNATURE = b"__saved_model_train_op"
_INIT_COLLECTIONS = (b"saved_model_main_op", b"legacy_init_op")

# What is larger is left to the model server: a graph of so many nodes, or one with weights in it.
_LARGEST_GRAPH_BYTES = 16 * 1024 * 1024
# Nodes, and their names, inputs and attributes.
_MOST_PARTS = 1_000_000


def variables_needed(path: Path) -> int:
    """How many variables the graph has, if no signature works without their files.

    0 where one may: where it uses no variable, where the graph itself gives the variables their
    values when it is loaded, or where that is not found out.
    """
    if path.stat().st_size > _LARGEST_GRAPH_BYTES:
        return 0
    content = path.read_bytes()
    if not any(_field_of(_OP, op) in content for op in _VARIABLES):
        return 0
    try:
        for meta_graph in _fields(memoryview(content), _META_GRAPHS):
            if _tags(meta_graph) == [_SERVE]:
                return _variables_needed(meta_graph)
    except (ValueError, DecodeError):
        # A graph that is too large, or damaged inside: the model server says how.
        return 0
    return 0


def _variables_needed(meta_graph: memoryview) -> int:
    users: dict[bytes, list[bytes]] = defaultdict(list)
    variables = []
    for name, op, inputs in _nodes(meta_graph):
        if op in _VARIABLES:
            variables.append(name)
        for used in inputs:
            users[used].append(name)
    depending = _all_users(variables, users)
    if not depending.isdisjoint(_initialisers(meta_graph)):
        return 0
    signatures = [
        outputs
        for name, outputs in _signatures(meta_graph)
        if name not in (_INIT_SIGNATURE, _TRAIN_SIGNATURE)
    ]
    if not signatures or any(depending.isdisjoint(outputs) for outputs in signatures):
        return 0
    return len(variables)


def _nodes(meta_graph: memoryview) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    """Each node's name, its operation, and the nodes that it takes its inputs from.

    Raises ValueError where there are too many.
    """
    left = _MOST_PARTS
    for graph in _fields(meta_graph, _GRAPH):
        for node in _fields(graph, _NODES):
            name = op = b""
            inputs = []
            for number, content in length_fields(node):
                left -= 1
                if number == _NAME:
                    name = bytes(content)
                elif number == _OP:
                    op = bytes(content)
                elif number == _INPUT:
                    inputs.append(_node_of(bytes(content)))
                if left < 0:
                    break
            left -= 1
            if left < 0:
                raise ValueError(f"nodes of more than {_MOST_PARTS} parts")
            yield name, op, inputs


def _all_users(nodes: Iterable[bytes], users: Mapping[bytes, list[bytes]]) -> set[bytes]:
    """The nodes, and all whose values follow from theirs."""
    found: set[bytes] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += users.get(node, ())
    return found


def _signatures(meta_graph: memoryview) -> Iterator[tuple[bytes, list[bytes]]]:
    """Each signature's name and the nodes of its outputs."""
    for name, value in _map_entries(meta_graph, _SIGNATURES):
        outputs = SignatureDef.FromString(bytes(value)).outputs.values()
        yield name, [_node_of(output.name.encode()) for output in outputs]


def _initialisers(meta_graph: memoryview) -> list[bytes]:
    """The nodes that run when the model is loaded."""
    nodes = [
        node
        for name, outputs in _signatures(meta_graph)
        for node in outputs
        if name == _INIT_SIGNATURE
    ]
    for name, value in _map_entries(meta_graph, _COLLECTIONS):
        if name in _INIT_COLLECTIONS:
            names = CollectionDef.FromString(bytes(value)).node_list.value
            nodes += [_node_of(node.encode()) for node in names]
    return nodes


def _node_of(tensor: bytes) -> bytes:
    """The node that an input or output is of: `node`, `node:0` or, for its end alone, `^node`."""
    return tensor.removeprefix(b"^").partition(b":")[0]


def _tags(meta_graph: memoryview) -> list[bytes]:
    return [bytes(tag) for info in _fields(meta_graph, _META_INFO) for tag in _fields(info, _TAGS)]


def _map_entries(message: memoryview, wanted: int) -> Iterator[tuple[bytes, memoryview]]:
    for entry in _fields(message, wanted):
        parts = dict(length_fields(entry))
        yield bytes(parts.get(_KEY, b"")), parts.get(_VALUE, memoryview(b""))


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (content for number, content in length_fields(message) if number == wanted)


def _field_of(number: int, content: bytes) -> bytes:
    """The bytes of a short field."""
    return bytes([number << 3 | 2, len(content)]) + content
