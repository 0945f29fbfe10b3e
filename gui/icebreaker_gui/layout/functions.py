"""What is inside the functions that nodes call, shown like a scope of the calling node."""

from __future__ import annotations

from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Node
from icebreaker.tensors import Tensor
from icebreaker_gui.layout.folding import fold
from icebreaker_gui.layout.outline import Inner

# Nodes inside functions that are shown at most.
_MOST_INNER = 20_000


def open_functions(
    graph: Graph, shown: list[Node], behind: dict[str, Tensor], hosts: dict[str, list[str]], show_folded: bool
) -> dict[str, Inner]:
    """Adds what is inside the functions that nodes call (the body of a While) as nodes in a scope named like the node.

    Args:
        graph: The graph, with its library of functions.
        shown: The nodes that are drawn; extended in place, like the next two.
        behind: Passing nodes → the tensor behind them.
        hosts: Folded nodes → the drawn nodes that carry their badge.
        show_folded: True to fold nothing.

    Returns:
        Keys of all nodes inside → what they are; the first 20,000 or so.
    """
    library = {function.signature.name: function for function in graph.definition.library.function}
    inner: dict[str, Inner] = {}
    if not library:
        return inner
    waiting = [(node, node.name, node.name, 0) for node in shown]
    while waiting:
        node, key, owner, depth = waiting.pop()
        for role, value in sorted(node.definition.attr.items()):
            body = library.get(value.func.name) if value.WhichOneof("value") == "func" else None
            if body is None or depth > 3 or len(inner) + len(body.node_def) > _MOST_INNER:
                continue
            try:
                inside = _graph_of(graph, body)
            except IcebreakerError:
                continue  # it cannot be shown, but the graph can
            prefix = f"{key}/{role}/"
            passing, held = ({}, {}) if show_folded else fold(inside, set())
            behind.update(
                (prefix + name, Tensor(prefix + tensor.node, tensor.port)) for name, tensor in passing.items()
            )
            hosts.update((prefix + name, [prefix + reader for reader in readers]) for name, readers in held.items())
            for called in inside:
                name = prefix + called.name
                inner[name] = Inner(name, owner, called)
                if called.name in passing or called.name in held:
                    continue
                inputs = tuple(Tensor(prefix + tensor.node, tensor.port) for tensor in called.inputs)
                # What the call gets goes to the function's arguments.
                controls = (key,) if called.op == "_Arg" else tuple(prefix + text for text in called.controls)
                made = Node(name, called.op, inputs, controls, called.device, called.definition)
                shown.append(made)
                waiting.append((made, name, owner, depth + 1))
    return inner


def _graph_of(graph: Graph, body: Any) -> Graph:
    """A function's body as a graph of its own; its arguments are nodes of the op `_Arg`."""
    definition = type(graph.definition)()
    for argument in body.signature.input_arg:
        definition.node.add(name=argument.name, op="_Arg")
    for item in body.node_def:
        node = definition.node.add()
        node.CopyFrom(item)
        # A tensor is `node:output:index` in a function.
        node.ClearField("input")
        for text in item.input:
            parts = text.split(":")
            port = parts[2] if len(parts) == 3 else "0"
            node.input.append(parts[0] if port == "0" else f"{parts[0]}:{port}")
    return Graph(definition)
