"""Which node of one graph is which of another: by name where that tells, else by what it does with what.

Every step takes time in proportion to nodes and edges. What a node is made of gets a number, the same in both graphs
for the same op, attributes and inputs, the inputs' own numbers included: equal numbers are equal subgraphs.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import MERGES, NEXT_ITERATIONS, PLACEHOLDERS
from icebreaker.graph.traversal import topological_order

# Attributes that say nothing of what a node does.
NOTES = frozenset({"_output_shapes", "_class"})
# Gives what tells a constant's values from others; the same for the same values.
Fingerprint = Callable[[Node], Any]


class Numbers:
    """Gives each thing a number, equal things the same."""

    def __init__(self) -> None:
        self._of: dict[Any, int] = {}

    def of(self, thing: Any) -> int:
        """The thing's number."""
        return self._of.setdefault(thing, len(self._of))

    def make(self, graph: Graph, labels: Mapping[str, str], fingerprint: Fingerprint | None) -> dict[str, int]:
        """The numbers of a graph's nodes.

        Args:
            graph: The graph.
            labels: Its placeholders → what they are told apart by.
            fingerprint: Tells constants of the same type and shape apart; None: they are not told apart.
        """
        found: dict[str, int] = {}
        for node in _in_order(graph):
            inputs = tuple((found.get(tensor.node, -1), tensor.port) for tensor in node.inputs)
            controls = tuple(sorted(found.get(name, -1) for name in node.controls))
            values = fingerprint(node) if fingerprint and node.op == "Const" else None
            label = labels.get(node.name)
            found[node.name] = self.of((node.op, node.device, attributes_of(node), inputs, controls, values, label))
        return found


def attributes_of(node: Node) -> tuple[tuple[str, Any], ...]:
    """A node's attributes, in a form that can be compared; a constant's type and shape in place of its values."""
    attrs = node.definition.attr
    return tuple(
        (
            name,
            node.value if name == "value" and node.op == "Const" else attrs[name].SerializeToString(deterministic=True),
        )
        for name in sorted(attrs)
        if name not in NOTES
    )


def _in_order(graph: Graph) -> Iterable[Node]:
    """Each node after what it reads, but for what comes back in a loop; what waits for itself comes last."""
    needs: dict[str, set[str]] = {}
    for node in graph:
        back = NEXT_ITERATIONS if node.op in MERGES else ()
        needs[node.name] = {name for name in node.sources if graph[name].op not in back}
    order = list(topological_order(needs))
    rest = set(needs).difference(order)
    return [graph[name] for name in (*order, *(name for name in needs if name in rest))]


class Matching:
    """Pairs of nodes.

    Attributes:
        there: Name in the first graph → name in the second.
        back: The other way.
        alike: Whether two nodes are equal with all that they are made of, by their names.
    """

    def __init__(self, first: Graph, second: Graph, fingerprints: tuple[Fingerprint, Fingerprint]) -> None:
        """Finds the pairs."""
        self.there: dict[str, str] = {}
        self.back: dict[str, str] = {}
        self._first, self._second = first, second
        self._labels = _labels(first, second), _labels(second, first)
        numbers = Numbers()
        self._exact = (
            numbers.make(first, self._labels[0], fingerprints[0]),
            numbers.make(second, self._labels[1], fingerprints[1]),
        )
        for node in first:
            if node.name in second and second[node.name].op == node.op:
                self._pair(node.name, node.name)
        if len(self.there) < max(len(first), len(second)):
            self._pair_by_structure(numbers)
        for node in first:  # whatever it does now
            if node.name in second and node.name not in self.there and node.name not in self.back:
                self._pair(node.name, node.name)

    def alike(self, first: str, second: str) -> bool:
        """Whether two nodes are equal with all that they are made of."""
        return self._exact[0][first] == self._exact[1][second]

    def _pair(self, first: str, second: str) -> None:
        self.there[first], self.back[second] = second, first

    def _pair_by_structure(self, numbers: Numbers) -> None:
        """Equal subgraphs first; then what pairs read and are read by; then equal ones but for their weights."""
        self._pair_equal(*self._exact, lambda node: node.op != "Const")
        self._spread()
        rough = (
            numbers.make(self._first, self._labels[0], None),
            numbers.make(self._second, self._labels[1], None),
        )
        self._pair_equal(*rough, lambda node: node.op != "Const")
        self._spread()
        self._pair_equal(*self._exact, lambda node: True)

    def _pair_equal(self, first: Mapping[str, int], second: Mapping[str, int], wanted: Callable[[Node], bool]) -> None:
        """Pairs nodes of the same number that have no other yet, in the graphs' order."""
        free: defaultdict[int, deque[str]] = defaultdict(deque)
        for node in self._second:
            if node.name not in self.back and wanted(node):
                free[second[node.name]].append(node.name)
        for node in self._first:
            if node.name not in self.there and wanted(node) and (others := free.get(first[node.name])):
                self._pair(node.name, others.popleft())

    def _spread(self) -> None:
        """Pairs what pairs read in the same place, and what reads them, if it does the same."""
        todo = deque(self.there.items())
        while todo:
            name, other = todo.popleft()
            mine, theirs = self._first[name], self._second[other]
            for tensor, read in zip(mine.inputs, theirs.inputs, strict=False):
                if tensor.port == read.port:
                    self._try(tensor.node, read.node, todo)
            readers = _alone(self._first, name, self.there), _alone(self._second, other, self.back)
            for kind, reader in readers[0].items():
                if kind in readers[1]:
                    self._try(reader, readers[1][kind], todo)

    def _try(self, first: str, second: str, todo: deque[tuple[str, str]]) -> None:
        free = first not in self.there and second not in self.back
        if free and self._first[first].op == self._second[second].op:
            self._pair(first, second)
            todo.append((first, second))


def _labels(graph: Graph, other: Graph) -> dict[str, str]:
    """Placeholder → what it is told by: its name, by which it is fed, or its place among those the other lacks."""
    found: dict[str, str] = {}
    alone = 0
    for node in graph:
        if node.op in PLACEHOLDERS:
            if node.name in other and other[node.name].op == node.op:
                found[node.name] = node.name
            else:
                found[node.name] = f"{alone}:"  # which no node is called
                alone += 1
    return found


def _alone(graph: Graph, name: str, taken: Mapping[str, str]) -> dict[str, str]:
    """Op → the one reader of a node with that op that has no pair yet; ops with several are left out."""
    found: dict[str, str] = {}
    several: set[str] = set()
    for reader in graph.consumers[name]:
        if reader not in taken:
            op = graph[reader].op
            if op in found:
                several.add(op)
            found[op] = reader
    return {op: reader for op, reader in found.items() if op not in several}
