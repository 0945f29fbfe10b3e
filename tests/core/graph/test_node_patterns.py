"""Nodes by name and by pattern."""

from __future__ import annotations

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.graph.node_patterns import matching_nodes
from icebreaker.graph.protos import GraphDef


def test_names_and_patterns() -> None:
    definition = GraphDef()
    for name in ("head/a", "head/b", "tail"):
        definition.node.add(name=name, op="NoOp")
    graph = Graph(definition)
    assert matching_nodes(graph, ["head/*", "tail"]) == {"head/a", "head/b", "tail"}
    assert matching_nodes(graph, ["none*"]) == frozenset() == matching_nodes(graph, [])
    with pytest.raises(IcebreakerError, match="nobody"):
        matching_nodes(graph, ["nobody"])
