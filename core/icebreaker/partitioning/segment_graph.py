"""A graph as segments see it: numbered nodes, what each waits for, and which neighbours may share a segment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import CONTROL_FLOW, FORWARDING, PLACEHOLDERS
from icebreaker.graph.traversal import topological_layers
from icebreaker.messages import message
from icebreaker.partitioning.liveness import Liveness, forward_inputs
from icebreaker.partitioning.segment import Refusal
from icebreaker.tensors import Tensor


class SegmentGraph:
    """The nodes that outputs need, numbered in topological order.

    Constants have no edges here, for each reader may get a copy: it waits for what its constants wait for.

    Attributes:
        outputs: The graph's outputs.
        order: The nodes.
        number: Node → its number.
        waits: Of a constant, and of what only forwards one: the nodes it waits for.
        reasons: Of nodes that cannot be members of a segment: why.
        before: Of each node: what it reads or waits for.
        joins: Of each node: those of its data inputs with which it may share a segment.
        after: Of each node: what reads it or waits for it.
        readers: Tensor that is an output or is read → its readers.
        tensors: Of each node: its tensors that are outputs or are read, sorted.
    """

    def __init__(
        self, graph: Graph, outputs: Sequence[Tensor], refusals: Mapping[str, Refusal], loops: Collection[str] = ()
    ) -> None:
        """Numbers what the outputs need.

        Raises:
            IcebreakerError: The graph has a cycle that is not a loop.
        """
        self.outputs, self._loops = frozenset(outputs), frozenset(loops)
        self.order = _topological(graph, graph.ancestors(tensor.node for tensor in outputs))
        self.number = {node.name: index for index, node in enumerate(self.order)}
        self.waits: dict[int, list[int]] = {}
        self.reasons: dict[int, Refusal] = {}
        self.before: list[list[int]] = []
        self.joins: list[list[int]] = []
        self.after: list[list[int]] = [[] for _ in self.order]
        live = Liveness(graph, self.order)
        conditions = [live.conditions[node.name] for node in self.order]
        for index, node in enumerate(self.order):
            read = list(dict.fromkeys(self.number[tensor.node] for tensor in forward_inputs(graph, node)))
            before = self.without_constants((*read, *(self.number[name] for name in node.controls)))
            if node.name not in refusals and (
                node.op == "Const" or (node.op in FORWARDING and all(source in self.waits for source in read))
            ):
                self.waits[index] = before
                before = []
            self.before.append(before)
            for source in before:
                self.after[source].append(index)
            reason = self._reason(index, live.frames[node.name], refusals)
            if reason:
                self.reasons[index] = reason
                read = []
            self.joins.append(
                [source for source in read if source not in self.reasons and conditions[source] == conditions[index]]
            )
        self.readers: dict[Tensor, list[int]] = {tensor: [] for tensor in self.outputs}
        for index, node in enumerate(self.order):
            for tensor in node.inputs:
                self.readers.setdefault(tensor, []).append(index)
        self.tensors: list[list[Tensor]] = [[] for _ in self.order]
        for tensor in sorted(self.readers):
            self.tensors[self.number[tensor.node]].append(tensor)

    def sources(self, index: int) -> list[int]:
        """What a node reads, constants and back edges of loops included; not what it waits for."""
        return [self.number[tensor.node] for tensor in self.order[index].inputs]

    def without_constants(self, nodes: Iterable[int]) -> list[int]:
        """Nodes with each constant replaced by what it waits for, each once."""
        return list(dict.fromkeys(other for index in nodes for other in self.waits.get(index, (index,))))

    def leaves(self, tensor: Tensor, members: set[int]) -> bool:
        """Whether a tensor is needed outside of these members."""
        return tensor in self.outputs or not members.issuperset(self.readers.get(tensor, ()))

    def _reason(self, index: int, frame: tuple[str, ...], refusals: Mapping[str, Refusal]) -> Refusal | None:
        """Why a node cannot be a member; `frame` names the loops that it is in."""
        node = self.order[index]
        refusal = refusals.get(node.name)
        if refusal and refusal.code == "excluded":
            return refusal
        if node.op in PLACEHOLDERS:
            return Refusal("passive", message("graph_input", "an input of the graph"))
        if node.op in CONTROL_FLOW and node.name not in self._loops:
            return Refusal(
                "control_flow",
                message("is_control_flow", "{op} is control flow, which stays in TensorFlow", op=node.op),
            )
        if index in self.waits:
            return Refusal("passive", message("constant_needed", "a constant that is needed in TensorFlow"))
        if frame:
            return Refusal("control_flow", message("inside_loop", "inside the loop {loop}", loop=frame[-1]))
        return refusal


def _topological(graph: Graph, names: set[str]) -> list[Node]:
    """Nodes by depth, then by name: the same for every order of the nodes in the file."""
    needs = {
        name: {tensor.node for tensor in forward_inputs(graph, graph[name])}.union(graph[name].controls)
        for name in names
    }
    order = [graph[name] for layer in topological_layers(needs) for name in sorted(layer)]
    if len(order) < len(names):
        waiting = min(names.difference(node.name for node in order))
        raise IcebreakerError(
            "graph_has_cycle", "node {subject!r} waits for itself or for such a node", "export_graph_again",
            subject=waiting,
        )  # fmt: skip
    return order
