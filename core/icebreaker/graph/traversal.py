"""Ways through a graph, for anything that can be a dictionary's key: names of nodes, numbers, tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


def reachable(starts: Iterable[T], following: Callable[[T], Iterable[T]]) -> Iterator[T]:
    """Walks to all that can be reached, depth first, the last one first.

    Use it as `set(reachable(outputs, reads))` for what outputs need, where `reads` gives what a node reads.

    Args:
        starts: Where to begin; they are among the results.
        following: Gives what one step leads to.

    Yields:
        Each thing once.
    """
    seen: set[T] = set()
    stack = list(starts)
    while stack:
        here = stack.pop()
        if here not in seen:
            seen.add(here)
            yield here
            stack.extend(following(here))


def topological_layers(needs: Mapping[T, Collection[T]]) -> Iterator[list[T]]:
    """Sorts a graph into layers: the first needs nothing, each other one only what stands in those before it.

    What waits for itself, or for such a thing, is in no layer: where that is an error, count what came.

    Args:
        needs: For every node, the nodes that come before it, each once; all of them are keys.

    Yields:
        Nodes of one depth: in the order of `needs` in the first layer, further on as their last need is met.
    """
    missing = {node: len(before) for node, before in needs.items()}
    after: dict[T, list[T]] = {node: [] for node in needs}
    for node, before in needs.items():
        for other in before:
            after[other].append(node)
    layer = [node for node, count in missing.items() if not count]
    while layer:
        yield layer
        following: list[T] = []
        for node in layer:
            for other in after[node]:
                missing[other] -= 1
                if not missing[other]:
                    following.append(other)
        layer = following


def topological_order(needs: Mapping[T, Collection[T]]) -> list[T]:
    """All layers of `topological_layers` in a row: each node after what it needs."""
    return [node for layer in topological_layers(needs) for node in layer]
