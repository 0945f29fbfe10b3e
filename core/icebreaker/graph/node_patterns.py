"""Which nodes a user means by names and patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from icebreaker.graph.graph import Graph


def matching_nodes(graph: Graph, patterns: Iterable[str]) -> frozenset[str]:
    """Names of the nodes that are named, or that match a pattern such as `head/*`; a pattern may match none.

    Raises:
        IcebreakerError: A name without `*`, `?` or `[` is no node of the graph.
    """
    names: set[str] = set()
    for pattern in patterns:
        if any(sign in pattern for sign in "*?["):
            names.update(fnmatch.filter((node.name for node in graph), pattern))
        else:
            names.add(graph.require(pattern).node)
    return frozenset(names)
