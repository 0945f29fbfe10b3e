"""Finds the recurrent networks of a graph, however their loops are written."""

from __future__ import annotations

from collections.abc import Callable

from icebreaker.export.recurrent import whiles
from icebreaker.export.recurrent.frames import FrameLoop
from icebreaker.export.recurrent.loops import Other, Recurrence, Shape
from icebreaker.export.recurrent.whiles import WhileLoop
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor


def find_recurrences(graph: Graph, shape: Callable[[Tensor], Shape | None]) -> dict[str, Recurrence]:
    """The loops of a graph that are recurrent networks, by their names.

    Args:
        graph: The graph, in TensorFlow's message.
        shape: A tensor's shape as TensorFlow infers it.
    """
    found: dict[str, Recurrence] = {}
    for node in graph:
        kind = WhileLoop if node.op in whiles.OPS else FrameLoop if node.op == "LoopCond" else None
        if kind is not None:
            try:
                item = kind(graph, node.name, shape).recurrence()
            except Other:
                continue
            if not item.is_unit or _has_no_detour(graph, item):
                found[node.name] = item
    return found


def _has_no_detour(graph: Graph, item: Recurrence) -> bool:
    """Whether nothing outside of a loop lies between what it gives and what it reads."""
    inside = set(item.members)
    after = graph.descendants(tensor.node for tensor in item.outputs) - inside
    return all(after.isdisjoint(graph[name].sources) for name in inside)
