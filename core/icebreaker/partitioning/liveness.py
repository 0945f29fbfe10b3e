"""When a node of a graph with v1 control flow is alive: in which loop, and under which conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import ENTERS, EXITS, MERGES, NEXT_ITERATIONS, SWITCHES
from icebreaker.tensors import Tensor

# A condition: this Switch predicate has this value. A Merge of anything but two complementary branches, and each port
# of a _SwitchN, has a condition of its own: its tensor and -1.
Condition: TypeAlias = tuple[Tensor, int]


def forward_inputs(graph: Graph, node: Node) -> list[Tensor]:
    """The tensors that a node reads, but for the edges by which a v1 loop goes back to its start."""
    if node.op in MERGES:
        return [tensor for tensor in node.inputs if graph[tensor.node].op not in NEXT_ITERATIONS]
    return list(node.inputs)


class Liveness:
    """Loop frames and conditions of nodes.

    A Switch gives each of its ports the condition (predicate, port) on top of its own. A Merge of two branches that
    differ in the value of one predicate only is alive whenever what the branches have in common holds: that includes
    the predicate's own conditions, as the Switch reads it. A loop's variables, and what leaves the loop, are alive
    whenever the loop is entered. Anything else is alive if all that it reads or waits for is.

    Attributes:
        frames: Node → names of the loops that it is in, outermost first.
        conditions: Node → conditions all of which hold exactly when it is alive.
    """

    def __init__(self, graph: Graph, order: Sequence[Node]) -> None:
        """Looks at nodes in topological order (back edges of loops do not count)."""
        self._graph = graph
        self.frames: dict[str, tuple[str, ...]] = {}
        self.conditions: dict[str, frozenset[Condition]] = {}
        for node in order:
            sources = [*(tensor.node for tensor in forward_inputs(graph, node)), *node.controls]
            frame = max((self.frames[name] for name in sources), key=len, default=())
            if node.op in ENTERS:
                frame = (*frame, str(node.attrs.get("frame_name", node.name)))
            self.conditions[node.name] = self._of_node(node, frame)
            self.frames[node.name] = frame[:-1] if node.op in EXITS else frame

    def _of_node(self, node: Node, frame: tuple[str, ...]) -> frozenset[Condition]:
        read = [self._of_tensor(tensor) for tensor in forward_inputs(self._graph, node)]
        if node.op in MERGES:
            return self._merged(node, read)
        conditions = frozenset[Condition]().union(*read, *(self.conditions[name] for name in node.controls))
        if node.op in EXITS:
            return frozenset(
                (tensor, value)
                for tensor, value in conditions
                if not (self._graph[tensor.node].op == "LoopCond" and self.frames[tensor.node] == frame)
            )
        return conditions

    def _of_tensor(self, tensor: Tensor) -> frozenset[Condition]:
        conditions = self.conditions[tensor.node]
        node = self._graph[tensor.node]
        if node.op not in SWITCHES:
            return conditions
        own = (tensor, -1) if node.op == "_SwitchN" else (self._predicate(node), tensor.port)
        return conditions | {own}

    def _predicate(self, switch: Node) -> Tensor:
        """What decides a Switch, whatever it is handed on by."""
        tensor = switch.inputs[1]
        while (node := self._graph[tensor.node]).op == "Identity":
            tensor = node.inputs[0]
        return tensor

    def _merged(self, node: Node, read: Sequence[frozenset[Condition]]) -> frozenset[Condition]:
        """Conditions of a Merge, from those of what it reads going forward."""
        if len(read) == 1 < len(node.inputs):  # of a loop
            return read[0]
        if len(read) == 2:
            different = read[0] ^ read[1]
            if not different:
                return read[0]
            if len(different) == 2 and len({tensor for tensor, _ in different}) == 1:
                return read[0] & read[1]
        return frozenset({(Tensor(node.name), -1)})
