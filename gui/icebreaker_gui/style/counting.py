"""How ops are counted: one way, everywhere in the app."""

from __future__ import annotations

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PASSIVE
from icebreaker.reports import SegmentReport


def real_ops(graph: Graph | None, segment: SegmentReport) -> int:
    """How many nodes of a segment compute something: constants and what only hands on values are not counted."""
    if graph is None:
        return len(segment.nodes)
    return sum(name in graph and graph[name].op not in PASSIVE for name in segment.nodes)
