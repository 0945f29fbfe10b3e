"""What a SavedModel may do to the world while it is loaded or run: judged on its messages, before TensorFlow sees them.

TensorFlow's loader runs more than what a signature needs: it creates and initializes the resources that it finds
through the object graph. So everything in the file is judged, whoever calls it. Only savers are made of ops that write
and read files; they are passed over where the loader does not run them, and where they read what it tells them to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.protos import VariableDef
from icebreaker.graph.side_effects import SAVERS_OPS, all_side_effects
from icebreaker.graph.traversal import reachable
from icebreaker.reports import SideEffect

_SAVERS = "savers"  # the collection that describes them; it names what nobody runs


def saved_model_effects(meta: Any) -> tuple[SideEffect, ...]:
    """The nodes that act outside the graph, in all of a MetaGraphDef, as `find_side_effects` gives them."""
    graph = meta.graph_def
    nodes = _unique(graph.node)
    restore = _node(meta.saver_def.restore_op_name)
    run = _needed(nodes, set(_named(meta)))
    restoring = _needed(nodes, {restore}) - run
    functions = {function.signature.name: function for function in graph.library.function}
    called = _called(graph, [nodes[name] for name in run], _in_object_graph(meta, functions))
    by_restore = _called(graph, [nodes[name] for name in restoring], ()) - called

    harmless: set[tuple[str, str]] = set()
    for name in nodes.keys() - run:
        if name not in restoring or _reads(nodes[name], nodes, {_node(meta.saver_def.filename_tensor_name)}):
            harmless.add(("", name))
    for name in functions.keys() - called:
        inside = _unique(functions[name].node_def)
        arguments = {item.name for item in functions[name].signature.input_arg}
        harmless.update(
            (name, node) for node in inside if name not in by_restore or _reads(inside[node], inside, arguments)
        )
    return tuple(
        item
        for item in all_side_effects(graph)
        if item.op not in SAVERS_OPS or (item.function, item.node) not in harmless
    )


def _unique(nodes: Sequence[Any]) -> Mapping[str, Any]:
    """Nodes by name, without those whose name occurs twice: nobody can tell which one is meant."""
    counts = Counter(node.name for node in nodes)
    return {node.name: node for node in nodes if counts[node.name] == 1}


def _node(tensor: str) -> str:
    """The node of a tensor's or an input's name."""
    return tensor.removeprefix("^").split(":")[0]


def _needed(nodes: Mapping[str, Any], names: Collection[str]) -> set[str]:
    """The nodes that some nodes need, and these."""
    found = reachable(names, lambda name: [_node(text) for text in nodes[name].input] if name in nodes else [])
    return {name for name in found if name in nodes}


def _named(meta: Any) -> Iterator[str]:
    """The nodes that a MetaGraphDef names for something else than saving and restoring: a loader may run them."""
    for signature in meta.signature_def.values():
        for info in signature.outputs.values():
            yield _node(info.name)
            yield from map(_node, (info.coo_sparse.values_tensor_name, info.coo_sparse.indices_tensor_name))
            yield _node(info.coo_sparse.dense_shape_tensor_name)
            yield from (_node(part.name) for part in info.composite_tensor.components)
    for key, collection in meta.collection_def.items():
        yield from map(_node, collection.node_list.value)
        for data in collection.bytes_list.value if key != _SAVERS else ():
            described = VariableDef()
            try:
                described.ParseFromString(data)
            except DecodeError:  # something else is described there
                continue
            yield from map(_node, (described.initializer_name, described.initial_value_name, described.snapshot_name))


def _in_object_graph(meta: Any, functions: Mapping[str, Any]) -> list[str]:
    """The functions that the object graph names."""
    objects = meta.object_graph_def
    names = [*objects.concrete_functions]
    for item in objects.nodes:
        names += [*item.function.concrete_functions, item.bare_concrete_function.concrete_function_name]
    return [name for name in names if name in functions]


def _called(graph: Any, nodes: Collection[Any], names: Collection[str]) -> set[str]:
    """The functions that may run when some nodes and functions do."""
    bodies = [function.node_def for function in graph.library.function if function.signature.name in set(names)]
    inside = [node for body in bodies for node in body]
    return {*names, *reachable_functions([*nodes, *inside], graph.library)}


def _reads(node: Any, scope: Mapping[str, Any], sources: Collection[str]) -> bool:
    """Whether an op reads from the file whose name one of `sources` gives, as it stands."""
    if node.op != "RestoreV2" or not node.input:
        return False
    name = _node(node.input[0])
    for _ in range(len(scope)):  # a stranger's graph may go in circles
        if name in sources or name not in scope or scope[name].op != "Identity" or not scope[name].input:
            break
        name = _node(scope[name].input[0])
    return name in sources
