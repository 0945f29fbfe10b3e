"""Rewrites graphs as messages: parts cut out, functions put in the place of their calls, constants read from files.

Needs TensorFlow for what its ops are. Owns: changes that leave what a graph computes as it is. Refuses: running it
(`session`), choosing what goes to engines (`partitioning`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from icebreaker.graph import external_weights, limits
from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import FUNCTIONAL_CONTROL_FLOW, V1_CONTROL_FLOW
from icebreaker.graph.traversal import reachable
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor


def to_tensorflow(definition: Any) -> Any:
    """TensorFlow's own GraphDef message with the same content: the given one if it is TensorFlow's."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return definition if isinstance(definition, GraphDef) else GraphDef.FromString(definition.SerializeToString())


def from_store(definition: Any, store: Store | None) -> Any:
    """TensorFlow's message in which constants that lie in a store are read from there, in functions too."""
    definition = to_tensorflow(definition)
    return definition if store is None else external_weights.mapped(definition, store)


def prune(graph: Graph, outputs: Iterable[Tensor], keep: Iterable[str] = ()) -> Graph:
    """The part of a graph that the outputs need and the nodes in `keep`, with its functions; TensorFlow's message.

    Waiting for what neither acts nor keeps state orders nothing, so such control edges go. TensorFlow's own freezing
    leaves a NoOp that waits for every weight: followed, it would keep all weights beside the engine that has them.
    """
    pure = _pure_nodes(graph)

    def needs(name: str) -> list[str]:
        node = graph[name]
        return [
            *(tensor.node for tensor in node.inputs),
            *(control for control in node.controls if control not in pure),
        ]

    needed = set(reachable((*(tensor.node for tensor in outputs), *keep), needs))
    whole = to_tensorflow(graph.definition)
    if whole is not graph.definition and len(needed) == len(graph):
        definition = whole  # ours alone: no need to copy the weights once more
    else:
        definition = type(whole)(versions=whole.versions, library=whole.library)
        definition.node.extend(node for node in whole.node if node.name in needed)
    for node in definition.node:
        if any(text.startswith("^") and text[1:] in pure for text in node.input):
            kept = [text for text in node.input if not (text.startswith("^") and text[1:] in pure)]
            del node.input[:]
            node.input.extend(kept)
    return Graph(definition, graph.store)


def spare_inputs(graph: Graph, cut: Graph, named: Collection[str] = ()) -> tuple[Any, ...]:
    """The inputs of a graph that a part of it does not need, as nodes that nothing reads.

    A program that feeds them (the labels, whether it is training) shall run on the part as it did on the whole.

    Args:
        graph: The whole.
        cut: The part.
        named: The inputs that the user chose; only these, if there are any.
    """
    found = []
    for item in graph.placeholders:
        if item.name not in cut and (not named or item.name in named):
            node = type(cut.definition)().node.add()
            node.MergeFromString(graph[item.name].definition.SerializeToString())
            node.op = "Placeholder"  # a default would need nodes of its own, and nobody asks for it
            del node.input[:]
            node.attr.pop("_class", None)
            found.append(node)
    return tuple(found)


def inline_functions(graph: Graph) -> Graph:
    """The graph with the bodies of functions in the place of their calls, so that what is in them can go to an engine.

    A call becomes an Identity of the same name on its results; its ops are called `call/op`. Conditions and loops,
    whose functions run sometimes or often, stay. So do the engine nodes of an optimized graph, and all calls where
    the result would pass `limits.MOST_NODES`, or where a call and its function do not go together: TensorFlow says
    that better when it imports them.
    """
    if not graph.definition.library.function:
        return graph
    definition = to_tensorflow(graph.definition)
    library = {function.signature.name: function for function in definition.library.function}
    called = {node.name: name for node in definition.node if (name := _called(node, library))}
    sizes = _sizes(library) if called else {}
    if not called or len(definition.node) + sum(sizes[name] for name in called.values()) > limits.MOST_NODES:
        return graph
    import tensorflow as tf

    result = type(definition)(versions=definition.versions, library=definition.library)
    taken = {node.name for node in definition.node}
    bodies = (definition.node, *(function.node_def for function in library.values()))
    anchored = any(node.op in V1_CONTROL_FLOW for nodes in bodies for node in nodes)
    try:
        with tf.Graph().as_default():
            tf.import_graph_def(type(definition)(versions=definition.versions, library=definition.library), name="")
            for node in definition.node:
                if node.name in called:
                    _inline(node, library, result, taken, anchored)
                else:
                    result.node.add().CopyFrom(node)
    except Exception:  # of many kinds
        return graph
    return Graph(result, graph.store)


def _called(node: Any, library: Mapping[str, Any]) -> str:
    """The function that a node calls once and for all; empty for any other node."""
    name = node.op  # TensorFlow 1 calls a function by its name
    if name in ("PartitionedCall", "StatefulPartitionedCall") and "_icebreaker_engine" not in node.attr:
        name = node.attr["f"].func.name
    return name if name in library and not library[name].signature.attr else ""


def _sizes(library: Mapping[str, Any]) -> Mapping[str, int]:
    """Nodes of each function with those of the functions that it calls; `limits` has seen that none calls itself."""
    sizes: dict[str, int] = {}

    def size(name: str) -> int:
        if name not in sizes:
            body = library[name].node_def
            sizes[name] = sum(1 + (size(other) if (other := _called(node, library)) else 0) for node in body)
        return sizes[name]

    for name in library:
        size(name)
    return sizes


def _inline(call: Any, library: Mapping[str, Any], result: Any, taken: set[str], anchored: bool) -> None:
    """Writes the body of the function that `call` calls into `result`, and an Identity in the place of the call.

    Where v1 control flow is about, all of it is `anchored` to the arguments, as the call was: a constant, too, must be
    in the loop that the call is in, and is dead in the branch that is not taken. Only what reads an output of a Switch
    can tell which one it is, hence the Identities.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    function = library[_called(call, library)]
    body, flat = function_def_to_graph_def(function)
    given = [text for text in call.input if not text.startswith("^")]
    waits = [text for text in call.input if text.startswith("^")]
    arguments = dict(zip((item.name for item in function.signature.input_arg), given, strict=True))

    def fresh(name: str) -> str:
        name = f"{call.name}/{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    if anchored:
        for item in function.signature.input_arg:
            entry = result.node.add(name=fresh(item.name), op="Identity", input=[arguments[item.name]])
            entry.attr["T"].type = item.type
            arguments[item.name] = entry.name
            waits.append(f"^{entry.name}")
        waits = [f"^{result.node.add(name=fresh('begin'), op='NoOp', input=waits).name}"]
    names = {node.name: fresh(node.name) for node in body.node if node.name not in arguments}

    def spelled(text: str) -> str:
        node, _, port = text.removeprefix("^").partition(":")
        if text.startswith("^"):
            return f"^{names[node]}" if node in names else f"^{arguments[node].partition(':')[0]}"
        if node in arguments:
            return arguments[node]
        return f"{names[node]}:{port}" if port not in ("", "0") else names[node]

    for node in body.node:
        if node.name in arguments:
            continue
        inputs = list(map(spelled, node.input))
        if anchored or node.op != "Const":
            inputs += [text for text in waits if text not in inputs]
        node.name = names[node.name]
        node.attr.pop("_class", None)  # colocation with nodes that have other names now
        del node.input[:]
        node.input.extend(inputs)
        if _called(node, library):
            _inline(node, library, result, taken, anchored)
        else:
            result.node.add().CopyFrom(node)
    made = result.node.add(name=call.name, device=call.device)
    types = [item.type for item in function.signature.output_arg]
    made.input.extend(spelled(flat[function.ret[item.name]]) for item in function.signature.output_arg)
    made.input.extend(
        dict.fromkeys([*waits, *(f"^{names[name]}" for name in function.control_ret.values() if name in names)])
    )
    made.op = ("NoOp", "Identity", "IdentityN")[min(len(types), 2)]
    if len(types) == 1:
        made.attr["T"].type = types[0]
    elif types:
        made.attr["T"].list.type.extend(types)


def _pure_nodes(graph: Graph) -> set[str]:
    """Nodes that only compute, from others that only compute.

    In a graph with v1 control flow these are constants and what passes them on: there, waiting for a node also tells
    whether a branch is taken, and to which loop a constant belongs.
    """
    from tensorflow.python.framework import op_def_registry

    ops = {"Const", "Identity", "IdentityN", "NoOp"}
    if V1_CONTROL_FLOW.isdisjoint(graph.op_counts):
        definitions = {op: op_def_registry.get(op) for op in graph.op_counts}
        ops |= {op for op, op_def in definitions.items() if op_def is not None and not op_def.is_stateful}
        ops.discard("CheckNumerics")  # it is waited for because it may fail
    acting = [node.name for node in graph if node.op not in ops and not _is_pure_loop(graph, node)]
    return {node.name for node in graph} - graph.descendants(acting)


def _is_pure_loop(graph: Graph, node: Node) -> bool:
    """Whether a node is control flow over functions that only compute: While counts as if it kept state."""
    from tensorflow.python.framework import op_def_registry

    if node.op not in FUNCTIONAL_CONTROL_FLOW:
        return False
    library = graph.definition.library
    called = set(reachable_functions([node.definition], library))
    ops = {item.op for function in library.function if function.signature.name in called for item in function.node_def}
    definitions = [op_def_registry.get(op) for op in ops - FUNCTIONAL_CONTROL_FLOW - called]
    return "CheckNumerics" not in ops and all(item is not None and not item.is_stateful for item in definitions)
