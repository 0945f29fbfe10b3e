"""Ways through graphs."""

import graphlib

from hypothesis import given
from hypothesis import strategies as st

from icebreaker.graph.traversal import reachable, topological_layers, topological_order


def test_each_thing_is_reached_once() -> None:
    reads = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": [], "e": ["d"]}
    assert sorted(reachable(["d"], reads.__getitem__)) == ["a", "b", "c", "d"]
    assert list(reachable([], reads.__getitem__)) == []


def test_what_waits_for_itself_is_in_no_layer() -> None:
    assert list(topological_layers({"a": [], "b": ["a", "c"], "c": ["b"], "d": ["c"], "e": ["a"]})) == [["a"], ["e"]]


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 30)), max_size=30))
def test_layers_are_as_deep_as_the_longest_way(edges: dict[int, set[int]]) -> None:
    needs = {node: {other for other in before if other < node and other in edges} for node, before in edges.items()}
    depth: dict[int, int] = {}
    for node in graphlib.TopologicalSorter(needs).static_order():
        depth[node] = 1 + max((depth[other] for other in needs[node]), default=-1)
    layers = list(topological_layers(needs))
    assert {node: number for number, layer in enumerate(layers) for node in layer} == depth
    assert topological_order(needs) == [node for layer in layers for node in layer]
