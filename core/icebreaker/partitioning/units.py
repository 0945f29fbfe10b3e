"""Parts of a graph that go into a segment as a whole, or not at all: for the partition, each is one node.

A loop of TensorFlow 1 is many nodes that run again and again. One that an engine can run, as a whole, is a node like
any other to its neighbours: it starts when all that it reads is there, and gives everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.partitioning.segment import Partition, Segment
from icebreaker.tensors import Tensor


@dataclass(frozen=True)
class Unit:
    """Nodes that belong together.

    Attributes:
        name: That of one of them.
        nodes: All of them.
        outputs: Their tensors that may be read from outside.
    """

    name: str
    nodes: tuple[str, ...]
    outputs: tuple[Tensor, ...]


class Contraction:
    """A graph with one node for each unit, and the way back.

    Attributes:
        graph: That graph; its nodes have no values.
        names: The units' nodes.
        sizes: Of those, how many real ops they stand for.
    """

    OP = "Unit"

    def __init__(self, graph: Graph, units: Iterable[Unit]) -> None:
        """Contracts `graph`."""
        self._units = {unit.name: unit for unit in units}
        self._home = {name: unit for unit in self._units.values() for name in unit.nodes}
        self._given = {
            tensor: Tensor(unit.name, port) for unit in self._units.values() for port, tensor in enumerate(unit.outputs)
        }
        self._was = {new: old for old, new in self._given.items()}
        whole = graph.definition
        result = type(whole)(versions=whole.versions)
        for node in graph:
            unit = self._home.get(node.name)
            if unit is None:
                copy = result.node.add(name=node.name, op=node.op)
                for key, value in node.definition.attr.items():
                    if key != "value":
                        copy.attr[key].CopyFrom(value)
                copy.input.extend(self._spelled([node]))
            elif unit.name == node.name:
                inside = set(unit.nodes)
                texts = self._spelled([graph[name] for name in unit.nodes], inside)
                result.node.add(name=unit.name, op=self.OP, input=sorted(texts, key=lambda text: text.startswith("^")))
        self.graph = Graph(result)
        self.names = frozenset(self._units)
        self.sizes = {
            unit.name: sum(graph[name].op not in PASSIVE for name in unit.nodes) for unit in self._units.values()
        }

    def contracted(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """What tensors of the graph are called in the contracted one."""
        return [self._given.get(tensor, tensor) for tensor in tensors]

    def expanded(self, found: Partition) -> Partition:
        """A partition of the contracted graph as one of the graph."""
        left = {
            member: refusal for name, refusal in found.left.items()
            for member in (self._units[name].nodes if name in self._units else (name,))
        }  # fmt: skip
        return Partition(tuple(map(self._segment, found.segments)), left)

    def _segment(self, segment: Segment) -> Segment:
        def names(items: Sequence[str]) -> tuple[str, ...]:
            return tuple(
                member for name in items for member in (self._units[name].nodes if name in self._units else (name,))
            )

        def tensors(items: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(self._was.get(tensor, tensor) for tensor in items)

        return replace(
            segment, nodes=names(segment.nodes), inputs=tensors(segment.inputs), outputs=tensors(segment.outputs)
        )  # fmt: skip

    def _spelled(self, nodes: Sequence[Node], inside: set[str] | frozenset[str] = frozenset()) -> list[str]:
        """What nodes read and wait for, each once, but for what is inside."""
        found: dict[str, None] = {}
        for node in nodes:
            tensors: list[str] = [
                str(self._given.get(tensor, tensor)) for tensor in node.inputs if tensor.node not in inside
            ]
            controls = [
                f"^{self._home[name].name if name in self._home else name}" for name in node.controls
                if name not in inside
            ]  # fmt: skip
            if not inside:
                return [*tensors, *controls]
            found.update(dict.fromkeys([*tensors, *controls]))
        return list(found)


def by_unit(
    graph: Graph, outputs: Sequence[Tensor], units: Iterable[Unit], refused: Callable[[str], bool]
) -> Contraction | None:
    """Contracts those units none of whose nodes is refused; None if there is none.

    What nobody can read from outside must not be an output either.
    """
    taken = [
        unit for unit in units
        if not any(refused(name) for name in unit.nodes)
        and all(tensor in unit.outputs or tensor.node not in unit.nodes for tensor in outputs)
    ]  # fmt: skip
    return Contraction(graph, taken) if taken else None
