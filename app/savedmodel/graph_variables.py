"""Whether the signatures of a `saved_model.pb` can do without the files of its variables.

The graph is read a node at a time: parsed whole, it takes several times its size in memory.
Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, framework/graph.proto and
node_def.proto; that variables without files are no error when a model is loaded:
tensorflow/cc/saved_model/loader.cc (RunRestore).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from tfserving_launcher.protos import CollectionDef
from tfserving_launcher.saved_model import (
    OP_SIGNATURES,
    fields,
    map_entries,
    node_of,
    served_graph,
    signature_defs,
)
from tfserving_launcher.wire_format import length_fields

# Field numbers.
_GRAPH, _COLLECTIONS = 2, 4
_NODES = 1
_NAME, _OP, _INPUT = 1, 2, 3

_VARIABLES = (b"VarHandleOp", b"VariableV2", b"Variable")
# What runs once the model is loaded, and may give variables their values.
_INIT_SIGNATURE = "__saved_model_init_op"
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
        meta_graph = served_graph(content)
        return 0 if meta_graph is None else _variables_needed(meta_graph)
    except (ValueError, DecodeError):
        # A graph that is too large, or damaged inside: the model server says how.
        return 0


def _variables_needed(meta_graph: memoryview) -> int:
    users: dict[str, list[str]] = defaultdict(list)
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
        _outputs(definition)
        for name, definition in signature_defs(meta_graph)
        if name not in OP_SIGNATURES
    ]
    if not signatures or any(depending.isdisjoint(outputs) for outputs in signatures):
        return 0
    return len(variables)


def _nodes(meta_graph: memoryview) -> Iterator[tuple[str, bytes, list[str]]]:
    """Each node's name, its operation, and the nodes that it takes its inputs from.

    Raises ValueError where there are too many.
    """
    left = _MOST_PARTS
    for graph in fields(meta_graph, _GRAPH):
        for node in fields(graph, _NODES):
            name, op = "", b""
            inputs = []
            for number, content in length_fields(node):
                left -= 1
                if number == _NAME:
                    name = bytes(content).decode()
                elif number == _OP:
                    op = bytes(content)
                elif number == _INPUT:
                    inputs.append(node_of(bytes(content).decode()))
                if left < 0:
                    break
            left -= 1
            if left < 0:
                raise ValueError(f"nodes of more than {_MOST_PARTS} parts")
            yield name, op, inputs


def _all_users(nodes: Iterable[str], users: Mapping[str, list[str]]) -> set[str]:
    """The nodes, and all whose values follow from theirs."""
    found: set[str] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += users.get(node, ())
    return found


def _initialisers(meta_graph: memoryview) -> list[str]:
    """The nodes that run when the model is loaded."""
    nodes = [
        node
        for name, definition in signature_defs(meta_graph)
        for node in _outputs(definition)
        if name == _INIT_SIGNATURE
    ]
    for name, value in map_entries(meta_graph, _COLLECTIONS):
        if name in _INIT_COLLECTIONS:
            names = CollectionDef.FromString(bytes(value)).node_list.value
            nodes += [node_of(node) for node in names]
    return nodes


def _outputs(definition: Any) -> list[str]:
    return [node_of(output.name) for output in definition.outputs.values()]


def _field_of(number: int, content: bytes) -> bytes:
    """The bytes of a short field."""
    return bytes([number << 3 | 2, len(content)]) + content
