"""Grows clusters of nodes that may become segments, as large as they can be made without a cycle among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from icebreaker.partitioning.segment_graph import SegmentGraph


def grow_clusters(graph: SegmentGraph) -> list[list[int]]:
    """All sets of nodes that may be segments, of whatever size.

    Returns:
        Numbers of the members of each, in topological order; the sets are in topological order, too.
    """
    phase = _phases(graph)
    count = len(graph.order)
    clusters = _Clusters(count)
    open_edges: list[tuple[int, int]] = []
    # Like TF-TRT: consumers first, so that segments grow from the outputs; the nearest producer first.
    for index in reversed(range(count)):
        for source in sorted(graph.joins[index], reverse=True):
            if phase[source] == phase[index]:
                clusters.unite(source, index)
            else:
                open_edges.append((source, index))
    clusters.connect(graph.before, phase)
    before = len(open_edges) + 1
    while len(open_edges) < before:  # a join may clear the way for another
        before = len(open_edges)
        open_edges = [edge for edge in open_edges if not clusters.join(*edge)]
    members: dict[int, list[int]] = {}
    for index in range(count):
        if index not in graph.reasons:
            members.setdefault(clusters.position[clusters.find(index)], []).append(index)
    return [members[position] for position in sorted(members)]


def _phases(graph: SegmentGraph) -> list[int]:
    """A phase per node that never falls along an edge: even for possible members, odd for others.

    An edge between nodes that may not join raises it. So nodes of one even phase have only joining edges between
    them, and what is connected by those can be united: a path that leaves it never comes back.
    """
    joins = [set(sources) for sources in graph.joins]
    odd = [index in graph.reasons for index in range(len(graph.order))]

    def step(first: int, second: int) -> int:
        """Least rise of the phase along an edge."""
        if odd[first] != odd[second]:
            return 1
        return 0 if odd[first] or first in joins[second] else 2

    phase: list[int] = []
    for index, sources in enumerate(graph.before):
        least = -1 if odd[index] else 0
        phase.append(max((phase[source] + step(source, index) for source in sources), default=least))
        phase[index] = max(phase[index], least)
    # As late as the first consumer allows: what is only used behind a TensorFlow node joins its consumer there.
    for index in reversed(range(len(graph.order))):
        if graph.after[index]:
            phase[index] = min(phase[reader] - step(index, reader) for reader in graph.after[index])
    return phase


class _Clusters:
    """Disjoint sets of nodes in an acyclic graph, joined so that the graph of the sets stays acyclic.

    The topological order of the sets is kept up to date (after Pearce and Kelly, "A dynamic topological sort algorithm
    for directed acyclic graphs", 2006). A set is named by its leader, one of its nodes.
    """

    def __init__(self, count: int) -> None:
        self._leader = list(range(count))
        self.position: dict[int, int] = {}  # of a cluster's leader in the order
        self._before: dict[int, set[int]] = {}
        self._after: dict[int, set[int]] = {}

    def find(self, index: int) -> int:
        """The leader of the cluster that holds a node."""
        leader = self._leader
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    def unite(self, first: int, second: int) -> None:
        """Joins two nodes' clusters, before `connect`."""
        low, high = sorted((self.find(first), self.find(second)))
        self._leader[high] = low

    def connect(self, before: Sequence[Iterable[int]], phase: Sequence[int]) -> None:
        """Adds the edges of the graph; (phase, smallest member) must be a topological order of the clusters.

        Args:
            before: Of each node: what it reads or waits for.
            phase: Of each node; see `_phases`.
        """
        leaders = sorted({self.find(index) for index in range(len(before))}, key=lambda leader: (phase[leader], leader))
        self.position = {leader: position for position, leader in enumerate(leaders)}
        self._before = {leader: set() for leader in leaders}
        self._after = {leader: set() for leader in leaders}
        for index, sources in enumerate(before):
            second = self.find(index)
            for source in sources:
                first = self.find(source)
                if first != second:
                    self._after[first].add(second)
                    self._before[second].add(first)

    def join(self, producer: int, consumer: int) -> bool:
        """Joins the clusters of an edge's ends; False if a path around the edge forbids it."""
        first, second = self.find(producer), self.find(consumer)
        if first == second:
            return True
        later = self._between(first, second, self._after)
        if later is None:
            return False
        # The new cluster stands before all that follows the producer and behind all that leads to the consumer. If
        # nothing follows, the consumer's place will do.
        position = self.position
        if later:
            earlier = self._between(second, first, self._before) or []
            order = sorted(earlier, key=position.__getitem__), sorted(later, key=position.__getitem__)
            slots = sorted(position[leader] for leader in (first, second, *earlier, *later))
            place = slots[len(earlier)]
            position.update(zip(order[0], slots, strict=False))
            position.update(zip(reversed(order[1]), reversed(slots), strict=False))
        else:
            place = position[second]
        if len(self._after[first]) + len(self._before[first]) < len(self._after[second]) + len(self._before[second]):
            first, second = second, first
        self._absorb(first, second)
        del position[second]
        position[first] = place
        return True

    def _between(self, start: int, end: int, edges: Mapping[int, set[int]]) -> list[int] | None:
        """Clusters on the way from `start` that stand before `end` in the order; None if a detour leads to `end`."""
        position = self.position
        low, high = sorted((position[start], position[end]))
        seen = {start}
        between: list[int] = []
        stack = [leader for leader in edges[start] if low < position[leader] < high]
        while stack:
            leader = stack.pop()
            if leader not in seen:
                following = edges[leader]
                if end in following:
                    return None
                seen.add(leader)
                between.append(leader)
                stack.extend(other for other in following if low < position[other] < high)
        return between

    def _absorb(self, first: int, second: int) -> None:
        """Gives the second cluster's members and edges to the first."""
        self._leader[second] = first
        for here, there in ((self._after, self._before), (self._before, self._after)):
            moved = here.pop(second)
            for neighbour in moved:
                there[neighbour].discard(second)
                if neighbour != first:
                    there[neighbour].add(first)
            here[first] |= moved
            here[first].discard(first)
            here[first].discard(second)
