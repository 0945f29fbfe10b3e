"""Which nodes go into engines together: splits a graph into segments and what stays in TensorFlow.

Owns: the choice of segments. Refuses: deciding what converts (`conversion` asks converter and engine, and hands
the answers in as refusals) and rewriting the graph (`runtime.artifact`).

A segment becomes one function call: it starts when all that it reads is there, and gives everything at once. Three
rules keep that invisible to the rest of the graph:

*No cycle.* Nothing outside may lie on a path from a member to a member, over data and control edges. Clusters grow in
two steps, each of which keeps the graph of clusters acyclic: by phases, then edge by edge (see `clusters`). Constants
are no nodes there: each reader gets a copy and waits for what the constant waits for.

*No change in liveness.* With v1 conditionals a node is dead if anything it reads or waits for is dead; only a Merge
lives on one live input. A call is dead as a whole, so all members must live under the same condition. `Liveness`
gives each node a set of conditions (predicate, branch) all of which hold exactly when the node is alive, and only
nodes with equal sets are joined. Then, if one member is alive, all are, hence everything that any of them reads or
waits for is alive, hence the call is. If the call is alive, so is all that comes from outside, hence, in topological
order, every member.

*No loop.* Members of a v1 loop run once per iteration: they stay in TensorFlow. A While is a loop as a whole, and goes
to an engine where its caller knows how.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PASSIVE
from icebreaker.graph.traversal import reachable
from icebreaker.messages import message
from icebreaker.partitioning.clusters import grow_clusters
from icebreaker.partitioning.segment import Partition, Refusal, Segment
from icebreaker.partitioning.segment_graph import SegmentGraph
from icebreaker.reports import REASONS
from icebreaker.tensors import Tensor


def partition(
    graph: Graph, outputs: Sequence[Tensor], refusals: Mapping[str, Refusal], minimum_segment_size: int = 3,
    loops: Collection[str] = (),
) -> Partition:  # fmt: skip
    """Splits what the outputs need into segments, as large as they can be made, and the rest.

    The result does not depend on the order of nodes in the file.

    Args:
        graph: The graph.
        outputs: The tensors that must keep their names and values.
        refusals: Nodes that may not go into an engine. All others may, but for inputs and control flow.
        minimum_segment_size: Segments with fewer real ops (all but `ops.PASSIVE`) stay in TensorFlow.
        loops: Nodes that are a loop as a whole, and may go into an engine like any other.

    Raises:
        IcebreakerError: An output is not in the graph, or the graph has a cycle that is not a loop.
    """
    for tensor in outputs:
        graph.require(tensor.node, "output")
    return _Partitioner(graph, outputs, refusals, loops).result(max(minimum_segment_size, 1))


class _Partitioner:
    """Makes segments of clusters, and says why the other nodes stay."""

    def __init__(
        self, graph: Graph, outputs: Sequence[Tensor], refusals: Mapping[str, Refusal], loops: Collection[str]
    ) -> None:
        self.nodes = SegmentGraph(graph, outputs, refusals, loops)
        self.taken = {node.name for node in graph} | set(graph.functions)  # names that are no segment's

    def result(self, minimum: int) -> Partition:
        """The segments with at least `minimum` real ops, and the rest."""
        graph = self.nodes
        segments: list[Segment] = []
        home: dict[int, Segment] = {}
        left: dict[int, Refusal] = {}
        serial = 0
        for cluster in grow_clusters(graph):
            size = sum(graph.order[index].op not in PASSIVE for index in cluster)
            if size < minimum:
                too_small = (
                    "segment of {size} op is below the minimum of {minimum}"
                    if size == 1
                    else "segment of {size} ops is below the minimum of {minimum}"
                )
                reason = Refusal("too_small", message("segment_too_small", too_small, size=size, minimum=minimum))
                left.update(dict.fromkeys(cluster, reason))
                continue
            while (name := f"TRTEngineOp_{serial:03}") in self.taken or f"{name}_native_segment" in self.taken:
                serial += 1
            segment = self._segment(name, self._trimmed(cluster), size)
            if not segment.outputs:
                reason = Refusal(
                    "passive", message("only_waited_for", "nothing reads what it computes, it is only waited for")
                )
                left.update(dict.fromkeys(cluster, reason))
                continue
            serial += 1
            segments.append(segment)
            home.update(dict.fromkeys((graph.number[member] for member in segment.nodes), segment))
        passive = Refusal("passive", message("passive", REASONS["passive"]))
        left.update((index, passive) for index, node in enumerate(graph.order) if node.op in PASSIVE)
        left.update(graph.reasons)
        return Partition(tuple(segments), {graph.order[index].name: left[index] for index in self._staying(home)})

    def _staying(self, home: Mapping[int, Segment]) -> list[int]:
        """Nodes outside of segments that are still needed when segments carry copies of their constants."""
        graph = self.nodes

        def places(names: Iterable[str]) -> Iterator[int]:
            """Numbers of nodes; the first member stands for a segment."""
            for name in names:
                segment = home.get(graph.number[name])
                yield graph.number[segment.nodes[0] if segment else name]

        def sources(index: int) -> Iterator[int]:
            return places(home[index].sources if index in home else graph.order[index].sources)

        needed = reachable(places(tensor.node for tensor in graph.outputs), sources)
        return sorted(index for index in needed if index not in home)

    def _trimmed(self, cluster: list[int]) -> list[int]:
        """A cluster without nodes that would only carry a value through the engine: in and out again, or out twice."""
        graph = self.nodes
        inside = set(cluster)
        again = True
        while again:
            again = False
            for index in cluster:
                if index not in inside or graph.order[index].op not in PASSIVE:
                    continue
                first = inside.isdisjoint(graph.before[index])
                last = inside.isdisjoint(graph.after[index])
                wanted = any(tensor.node == graph.order[index].name for tensor in graph.outputs)
                if (first and (wanted or not inside.issuperset(graph.after[index]))) or (
                    last and not wanted and all(graph.leaves(tensor, inside) for tensor in graph.order[index].inputs)
                ):
                    inside.discard(index)
                    again = True
        return [index for index in cluster if index in inside]

    def _segment(self, name: str, members: list[int], size: int) -> Segment:
        """The segment of these members, with the constants that it needs copies of."""
        graph = self.nodes
        inside = set(members)

        def constants_read(index: int) -> list[int]:
            return [source for source in graph.sources(index) if source in graph.waits]

        constants = set(reachable((source for index in members for source in constants_read(index)), constants_read))
        inputs = dict.fromkeys(
            tensor
            for index in members
            for tensor in graph.order[index].inputs
            if graph.number[tensor.node] not in inside and graph.number[tensor.node] not in constants
        )
        # A constant that is only waited for may itself wait for a member: what it waits for stands in for it.
        waited = graph.without_constants(
            graph.number[control] for index in (*members, *constants) for control in graph.order[index].controls
        )
        return Segment(
            name=name,
            nodes=tuple(graph.order[index].name for index in members),
            constants=tuple(graph.order[index].name for index in sorted(constants)),
            inputs=tuple(inputs),
            outputs=tuple(
                tensor for index in members for tensor in graph.tensors[index] if graph.leaves(tensor, inside)
            ),
            controls=tuple(graph.order[index].name for index in sorted(waited) if index not in inside),
            size=size,
        )
