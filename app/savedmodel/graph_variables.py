"""Decides whether the signatures of a `saved_model.pb` work without its variables' files.

The graph is read node by node, because parsing it whole takes several times its size in memory.
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
# Operations that run after loading may initialise variables.
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = (b"saved_model_main_op", b"legacy_init_op")

# Larger graphs, with very many nodes or embedded weights, are left to the model server.
_LARGEST_GRAPH_BYTES = 16 * 1024 * 1024
# The limit on nodes, names, inputs and attributes together.
_MOST_PARTS = 1_000_000


def variables_needed(path: Path) -> int:
    """The number of variables, if no signature works without their files; else 0.

    0 also if the graph initialises its variables itself, or if it cannot be analysed.
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
        # The graph is too large or damaged, so the model server decides.
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
    """Yield the name, operation and input nodes of each node.

    Raises ValueError if there are too many.
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
    """The nodes and all that depend on them."""
    found: set[str] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += users.get(node, ())
    return found


def _initialisers(meta_graph: memoryview) -> list[str]:
    """The nodes that run after loading."""
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
    """Encode a short length-delimited field."""
    return bytes([number << 3 | 2, len(content)]) + content
