"""From a graph and its conversion to outlines: one that before and after share, and one of the graph after alone."""

from __future__ import annotations

from dataclasses import dataclass

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PASSIVE
from icebreaker.reports import Conversion
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.layout import Cancelled, Extra, Layout, Outline, build

# More new nodes than this are no additions but another graph: they are not shown.
_MOST_NEW = 400


@dataclass(frozen=True, eq=False)
class Side:
    """One outline with its layout: the shared one of before and after, or the one of the graph after alone."""

    outline: Outline
    layout: Layout


def make_sides(data: GraphData, show_folded: bool, sideways: bool, cancelled: Cancelled) -> tuple[Side, Side | None]:
    """Outlines a graph.

    Args:
        data: The graph, which must be there, and its conversion.
        show_folded: True to draw constants and identities as boxes of their own.
        sideways: From left to right instead of from top to bottom.
        cancelled: Asked now and then.

    Returns:
        What before and after share, and the graph after alone with the engines' layers; None without a conversion.

    Raises:
        LayoutCancelled: `cancelled` became true.
    """
    graph, conversion, after = data.graph, data.conversion, data.after
    if graph is None:
        raise ValueError("there is no graph to outline")
    segments = _segments(graph, conversion, after) if conversion else {}
    extras = _new_nodes(graph, conversion, after) if conversion and after is not None else []
    kept = data.outputs or graph.candidate_outputs
    outline = build(graph, segments, kept, extras, show_folded, cancelled)
    shared = Side(outline, Layout(outline, sideways=sideways))
    if not conversion:
        return shared, None
    outline = build(graph, segments, kept, [*extras, *_layers(conversion)], show_folded, cancelled)
    return shared, Side(outline, Layout(outline, sideways=sideways))


def _segments(graph: Graph, conversion: Conversion, after: Graph | None) -> dict[str, tuple[str, ...]]:
    """The nodes to show in each segment.

    A passive node whose name the optimized graph keeps (an output that is an Identity) stays outside: there it is the
    same thing before and after, whatever the engine has inside.
    """
    kept = {node.name for node in after} if after is not None else set()
    return {
        segment.name: tuple(
            name for name in segment.nodes
            if not (name in kept and name in graph and graph[name].op in PASSIVE and graph[name].op != "Const")
        )
        for segment in conversion.segments
    }  # fmt: skip


def _new_nodes(graph: Graph, conversion: Conversion, after: Graph) -> list[Extra]:
    """Nodes of the optimized graph that are neither engine nodes nor nodes that were left in TensorFlow."""
    inside = {node for nodes in _segments(graph, conversion, after).values() for node in nodes}
    engines = {segment.name: segment for segment in conversion.segments}
    # A node of the same name as one that is inside an engine is a new node, which keeps an output's name.
    new = [
        node for node in after if node.name not in engines and (node.name not in graph or node.name in inside)
        and node.op not in ("Const", "NoOp")
    ]  # fmt: skip
    if len(new) > _MOST_NEW:
        return []
    keys = {node.name: f"{node.name} (after)" for node in new}

    def origin(tensor: Tensor) -> str:
        engine = engines.get(tensor.node)
        if engine and tensor.port < len(engine.outputs):
            return Tensor.parse(engine.outputs[tensor.port]).node
        return keys.get(tensor.node, tensor.node)

    return [
        Extra(
            keys[node.name],
            node.op,
            node.name,
            tuple(dict.fromkeys(origin(tensor) for tensor in node.inputs)),
        )
        for node in new
    ]


def _layers(conversion: Conversion) -> list[Extra]:
    """The engines' own layers inside each engine node: as the engine joins them, or else as a chain."""
    layers: list[Extra] = []
    for segment in conversion.segments:
        before = ""
        keys: dict[str, str] = {}
        for number, layer in enumerate(segment.layers):
            key = f"{segment.name} layer {number}"
            words = [word for word in (layer.name, layer.precision) if word]
            inputs = (before,) if before else ()
            if layer.inputs is not None:
                inputs = tuple(keys[name] for name in layer.inputs if name in keys)
            layers.append(Extra(key, layer.type, " · ".join(words), inputs, segment.name))
            keys[layer.name] = before = key
    return layers
