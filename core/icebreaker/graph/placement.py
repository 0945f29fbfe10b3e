"""Nodes that are pinned to devices: of the machine that a graph was exported on, which this one need not have."""

from __future__ import annotations

import re
from typing import Any

from icebreaker.graph.graph import Graph

_CPU = "/device:CPU:0"
_ON_CPU = re.compile(r"(.*/)?(device:)?cpu:\d+", re.IGNORECASE)


def placed_anywhere(graph: Graph) -> Graph:
    """The graph without pins to GPUs, other machines and the like; what shall be on the CPU stays there."""
    library = graph.definition.library.function
    if not any(
        _moved(node.device) for body in (graph.definition.node, *(f.node_def for f in library)) for node in body
    ):
        return graph
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    for body in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in body:
            if _moved(node.device):
                node.device = _place(node.device)
    return Graph(definition, graph.store)


def _moved(device: Any) -> bool:
    return bool(device) and device != _place(device)


def _place(device: str) -> str:
    return _CPU if _ON_CPU.fullmatch(device) else ""
