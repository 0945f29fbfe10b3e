"""Which nodes go into engines together: splits a graph into segments and what stays in TensorFlow.

Owns: the choice of segments. Refuses: deciding what converts (`convert` asks converter and engine, and hands the
answers in as refusals) and rewriting the graph (`artifact`).

A segment becomes one function call: it starts when all that it reads is there, and gives everything at once. Three
rules keep that invisible to the rest of the graph:

*No cycle.* Nothing outside may lie on a path from a member to a member, over data and control edges. Clusters grow in
two steps, each of which keeps the graph of clusters acyclic: by phases (see `_phases`), then edge by edge (see
`_Clusters.join`). Constants are no nodes there: each reader gets a copy and waits for what the constant waits for.

*No change in liveness.* With v1 conditionals a node is dead if anything it reads or waits for is dead; only a Merge
lives on one live input. A call is dead as a whole, so all members must live under the same condition. `_Liveness`
gives each node a set of conditions (predicate, branch) all of which hold exactly when the node is alive, and only
nodes with equal sets are joined. Then, if one member is alive, all are, hence everything that any of them reads or
waits for is alive, hence the call is. If the call is alive, so is all that comes from outside, hence, in topological
order, every member.

*No loop.* Members of a v1 loop run once per iteration: they stay in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import CONTROL_FLOW, PASSIVE, PLACEHOLDERS, Graph, Node
from icebreaker.messages import Message
from icebreaker.reports.reports import REASONS
from icebreaker.tensors import Tensor

_SWITCH = frozenset({"Switch", "SwitchV2", "RefSwitch", "_SwitchN"})
_MERGE = frozenset({"Merge", "RefMerge"})
_ENTER = frozenset({"Enter", "RefEnter"})
_EXIT = frozenset({"Exit", "RefExit"})
_NEXT = frozenset({"NextIteration", "RefNextIteration"})
_FORWARDING = frozenset({"Identity", "Snapshot", "StopGradient"})


@dataclass(frozen=True)
class Refusal:
    """Why a node stays in TensorFlow: `code` is a key of `reports.REASONS`, `text` is for the user."""

    code: str
    text: Message | str


@dataclass(frozen=True)
class Segment:
    """Nodes that become one engine node.

    Attributes:
        name: `TRTEngineOp_000` and so on, in topological order of the segments.
        nodes: Members, which move in, in topological order.
        constants: Constants, and what only forwards them, which are copied in, in topological order.
        inputs: Tensors from outside that members read, each once.
        outputs: Members' tensors that are read outside or are outputs of the graph, each once.
        controls: Nodes outside that must run before it.
        size: Number of real ops among the members.
    """

    name: str
    nodes: tuple[str, ...]
    constants: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    controls: tuple[str, ...]
    size: int

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What stays the same when the graph is partitioned again, which may change its name."""
        return self.nodes, self.inputs, self.outputs


@dataclass(frozen=True)
class Partition:
    """Segments, and for each other node that the outputs need (but for constants that are only copied) the reason."""

    segments: tuple[Segment, ...]
    left: Mapping[str, Refusal]


def partition(
    graph: Graph, outputs: Sequence[Tensor], refusals: Mapping[str, Refusal], minimum_segment_size: int = 3
) -> Partition:
    """Splits what the outputs need into segments, as large as they can be made, and the rest.

    The result does not depend on the order of nodes in the file.

    Args:
        graph: The graph.
        outputs: The tensors that must keep their names and values.
        refusals: Nodes that may not go into an engine. All others may, but for inputs and control flow.
        minimum_segment_size: Segments with fewer real ops (all but `graph.PASSIVE`) stay in TensorFlow.

    Raises:
        IcebreakerError: An output is not in the graph, or the graph has a cycle that is not a loop.
    """
    for tensor in outputs:
        graph.require(tensor.node, "output")
    return _Work(graph, outputs, refusals).result(max(minimum_segment_size, 1))


class _Work:
    """One partition. Nodes are numbered in topological order.

    Constants have no edges here, for each reader may get a copy: it waits for what its constants wait for.
    """

    def __init__(self, graph: Graph, outputs: Sequence[Tensor], refusals: Mapping[str, Refusal]) -> None:
        self.graph = graph
        self.wanted = frozenset(outputs)
        self.order = _topological(graph, graph.ancestors(tensor.node for tensor in outputs))
        self.number = {node.name: index for index, node in enumerate(self.order)}
        self.waits: dict[int, list[int]] = {}  # for a Const, and what only forwards one: the nodes it waits for
        self.reasons: dict[int, Refusal] = {}  # of nodes that cannot be members
        self.before: list[list[int]] = []  # what a node reads or waits for
        self.joins: list[list[int]] = []  # those of them with which it may share a segment
        self.after: list[list[int]] = [[] for _ in self.order]
        live = _Liveness(graph, self.order)
        for index, node in enumerate(self.order):
            read = dict.fromkeys(self.number[tensor.node] for tensor in _forward(graph, node))
            before = self._without_constants((*read, *(self.number[name] for name in node.controls)))
            if node.name not in refusals and (
                node.op == "Const" or (node.op in _FORWARDING and all(item in self.waits for item in read))
            ):
                self.waits[index] = before
                before = []
            self.before.append(before)
            for item in before:
                self.after[item].append(index)
            reason = self._reason(node, live.frames[node.name], refusals)
            if reason:
                self.reasons[index] = reason
                self.joins.append([])
            else:
                context = live.contexts[node.name]
                self.joins.append(
                    [
                        item
                        for item in read
                        if item not in self.reasons and live.contexts[self.order[item].name] == context
                    ]
                )
        self.readers: dict[Tensor, list[int]] = {tensor: [] for tensor in self.wanted}
        for index, node in enumerate(self.order):
            for tensor in node.inputs:
                self.readers.setdefault(tensor, []).append(index)
        self.tensors: list[list[Tensor]] = [[] for _ in self.order]  # of each node, those that anyone reads
        for tensor in sorted(self.readers):
            self.tensors[self.number[tensor.node]].append(tensor)

    def _without_constants(self, numbers: Iterable[int]) -> list[int]:
        """Nodes with each constant replaced by what it waits for."""
        found: dict[int, None] = {}
        for item in numbers:
            found.update(dict.fromkeys(self.waits.get(item, (item,))))
        return list(found)

    def _reason(self, node: Node, frame: tuple[str, ...], refusals: Mapping[str, Refusal]) -> Refusal | None:
        refusal = refusals.get(node.name)
        if refusal and refusal.code == "excluded":
            return refusal
        if node.op in PLACEHOLDERS:
            return Refusal("passive", "an input of the graph")
        if node.op in CONTROL_FLOW:
            return Refusal("control_flow", f"{node.op} is control flow, which stays in TensorFlow")
        if self.number[node.name] in self.waits:
            return Refusal("passive", "a constant that is needed in TensorFlow")
        if frame:
            return Refusal("control_flow", f"inside the loop {frame[-1]}")
        return refusal

    def result(self, minimum: int) -> Partition:
        """The segments with at least `minimum` real ops, and the rest."""
        segments: list[Segment] = []
        home: dict[int, Segment] = {}
        left: dict[int, Refusal] = {}
        taken = {node.name for node in self.graph} | set(self.graph.functions)
        serial = 0
        for cluster in self._clusters():
            size = sum(self.order[item].op not in PASSIVE for item in cluster)
            if size < minimum:
                text = f"segment of {size} op{'s' if size != 1 else ''} is below the minimum of {minimum}"
                left.update(dict.fromkeys(cluster, Refusal("too_small", text)))
                continue
            while (name := f"TRTEngineOp_{serial:03}") in taken or f"{name}_native_segment" in taken:
                serial += 1
            segment = self._segment(name, self._trimmed(cluster), size)
            if not segment.outputs:
                reason = Refusal("passive", "nothing reads what it computes, it is only waited for")
                left.update(dict.fromkeys(cluster, reason))
                continue
            serial += 1
            segments.append(segment)
            home.update(dict.fromkeys((self.number[item] for item in segment.nodes), segment))
        passive = Refusal("passive", REASONS["passive"])
        left.update((item, passive) for item, node in enumerate(self.order) if node.op in PASSIVE)
        left.update(self.reasons)
        return Partition(tuple(segments), {self.order[item].name: left[item] for item in self._staying(home)})

    def _staying(self, home: Mapping[int, Segment]) -> list[int]:
        """Nodes outside of segments that are still needed when segments carry copies of their constants."""
        found: set[int] = set()
        opened: set[str] = set()
        stack = [self.number[tensor.node] for tensor in self.wanted]
        while stack:
            index = stack.pop()
            segment = home.get(index)
            if segment is None:
                if index not in found:
                    found.add(index)
                    node = self.order[index]
                    stack.extend(self.number[tensor.node] for tensor in node.inputs)
                    stack.extend(self.number[name] for name in node.controls)
            elif segment.name not in opened:
                opened.add(segment.name)
                stack.extend(self.number[tensor.node] for tensor in segment.inputs)
                stack.extend(self.number[name] for name in segment.controls)
        return sorted(found)

    def _clusters(self) -> list[list[int]]:
        """All sets of nodes that may be segments, of whatever size, in topological order."""
        phase = self._phases()
        clusters = _Clusters(len(self.order))
        open_edges: list[tuple[int, int]] = []
        # Like TF-TRT: consumers first, so that segments grow from the outputs; the nearest producer first.
        for index in reversed(range(len(self.order))):
            for item in sorted(self.joins[index], reverse=True):
                if phase[item] == phase[index]:
                    clusters.unite(item, index)
                else:
                    open_edges.append((item, index))
        clusters.connect(self.before, phase)
        count = len(open_edges) + 1
        while len(open_edges) < count:  # a join may clear the way for another
            count = len(open_edges)
            open_edges = [edge for edge in open_edges if not clusters.join(*edge)]
        members: dict[int, list[int]] = {}
        for index in range(len(self.order)):
            if index not in self.reasons:
                members.setdefault(clusters.position[clusters.find(index)], []).append(index)
        return [members[position] for position in sorted(members)]

    def _phases(self) -> list[int]:
        """A phase per node that never falls along an edge: even for possible members, odd for others.

        An edge between nodes that may not join raises it. So nodes of one even phase have only joining edges between
        them, and what is connected by those can be united: a path that leaves it never comes back.
        """
        joins = [set(items) for items in self.joins]
        odd = [index in self.reasons for index in range(len(self.order))]

        def step(first: int, second: int) -> int:
            """Least rise of the phase along an edge."""
            if odd[first] != odd[second]:
                return 1
            return 0 if odd[first] or first in joins[second] else 2

        phase: list[int] = []
        for index, items in enumerate(self.before):
            least = -1 if odd[index] else 0
            phase.append(max((phase[item] + step(item, index) for item in items), default=least))
            phase[index] = max(phase[index], least)
        # As late as the first consumer allows: what is only used behind a TensorFlow node joins its consumer there.
        for index in reversed(range(len(self.order))):
            if self.after[index]:
                phase[index] = min(phase[item] - step(index, item) for item in self.after[index])
        return phase

    def _trimmed(self, cluster: list[int]) -> list[int]:
        """Without nodes that would only carry a value through the engine: in and out again, or out twice."""
        inside = set(cluster)
        again = True
        while again:
            again = False
            for index in cluster:
                if index not in inside or self.order[index].op not in PASSIVE:
                    continue
                first = inside.isdisjoint(self.before[index])
                last = inside.isdisjoint(self.after[index])
                wanted = any(tensor.node == self.order[index].name for tensor in self.wanted)
                if (first and (wanted or not inside.issuperset(self.after[index]))) or (
                    last and not wanted and all(self._leaves(tensor, inside) for tensor in self.order[index].inputs)
                ):
                    inside.discard(index)
                    again = True
        return [index for index in cluster if index in inside]

    def _leaves(self, tensor: Tensor, inside: set[int]) -> bool:
        return tensor in self.wanted or not inside.issuperset(self.readers.get(tensor, ()))

    def _segment(self, title: str, members: list[int], size: int) -> Segment:
        inside = set(members)
        constants: set[int] = set()
        stack = [self.number[tensor.node] for index in members for tensor in self.order[index].inputs]
        while stack:
            index = stack.pop()
            if index in self.waits and index not in constants:
                constants.add(index)
                stack.extend(self.number[tensor.node] for tensor in self.order[index].inputs)
        inputs = dict.fromkeys(
            tensor
            for index in members
            for tensor in self.order[index].inputs
            if self.number[tensor.node] not in inside and self.number[tensor.node] not in constants
        )
        # A constant that is only waited for may itself wait for a member: what it waits for stands in for it.
        waited = self._without_constants(
            self.number[name] for index in (*members, *constants) for name in self.order[index].controls
        )
        return Segment(
            name=title,
            nodes=tuple(self.order[index].name for index in members),
            constants=tuple(self.order[index].name for index in sorted(constants)),
            inputs=tuple(inputs),
            outputs=tuple(
                tensor for index in members for tensor in self.tensors[index] if self._leaves(tensor, inside)
            ),
            controls=tuple(self.order[index].name for index in sorted(waited) if index not in inside),
            size=size,
        )


class _Clusters:
    """Disjoint sets of nodes in an acyclic graph whose topological order is kept up to date (after Pearce and Kelly,
    "A dynamic topological sort algorithm for directed acyclic graphs", 2006).
    """  # noqa: D205

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
        """Joins two nodes' clusters before there are edges."""
        low, high = sorted((self.find(first), self.find(second)))
        self._leader[high] = low

    def connect(self, before: Sequence[Iterable[int]], phase: Sequence[int]) -> None:
        """Adds the edges; (phase, smallest member) is a topological order of the clusters."""
        leaders = sorted({self.find(index) for index in range(len(before))}, key=lambda item: (phase[item], item))
        self.position = {leader: position for position, leader in enumerate(leaders)}
        self._before = {leader: set() for leader in leaders}
        self._after = {leader: set() for leader in leaders}
        for index, items in enumerate(before):
            second = self.find(index)
            for item in items:
                first = self.find(item)
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
            slots = sorted(position[item] for item in (first, second, *earlier, *later))
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
        found = []
        stack = [item for item in edges[start] if low < position[item] < high]
        while stack:
            item = stack.pop()
            if item not in seen:
                following = edges[item]
                if end in following:
                    return None
                seen.add(item)
                found.append(item)
                stack.extend(other for other in following if low < position[other] < high)
        return found

    def _absorb(self, first: int, second: int) -> None:
        self._leader[second] = first
        for here, there in ((self._after, self._before), (self._before, self._after)):
            moved = here.pop(second)
            for item in moved:
                there[item].discard(second)
                if item != first:
                    there[item].add(first)
            here[first] |= moved
            here[first].discard(first)
            here[first].discard(second)


def _forward(graph: Graph, node: Node) -> list[Tensor]:
    """The tensors that a node reads, but for the edges by which a v1 loop goes back to its start."""
    if node.op in _MERGE:
        return [tensor for tensor in node.inputs if graph[tensor.node].op not in _NEXT]
    return list(node.inputs)


def _topological(graph: Graph, names: set[str]) -> list[Node]:
    """By depth, then by name: the same for every order of the nodes in the file."""
    missing: dict[str, int] = {}
    after: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        node = graph[name]
        before = {tensor.node for tensor in _forward(graph, node)}.union(node.controls)
        missing[name] = len(before)
        for item in before:
            after[item].append(name)
    order: list[Node] = []
    layer = [name for name, count in missing.items() if not count]
    while layer:
        order += [graph[name] for name in sorted(layer)]
        following = []
        for name in layer:
            for item in after[name]:
                missing[item] -= 1
                if not missing[item]:
                    following.append(item)
        layer = following
    if len(order) < len(names):
        name = min(name for name, count in missing.items() if count)
        raise IcebreakerError(f"node {name!r} waits for itself or for such a node: export the graph again")
    return order


# A condition: this Switch predicate has this value. A Merge of anything but two complementary branches, and each port
# of a _SwitchN, has a condition of its own: its tensor and -1.
_Condition = tuple[Tensor, int]


class _Liveness:
    """Loop frames and conditions of nodes.

    A Switch gives each of its ports the condition (predicate, port) on top of its own. A Merge of two branches that
    differ in the value of one predicate only is alive whenever what the branches have in common holds: that includes
    the predicate's own conditions, as the Switch reads it. A loop's variables, and what leaves the loop, are alive
    whenever the loop is entered. Anything else is alive if all that it reads or waits for is.
    """

    def __init__(self, graph: Graph, order: Sequence[Node]) -> None:
        self._graph = graph
        self.frames: dict[str, tuple[str, ...]] = {}
        self.contexts: dict[str, frozenset[_Condition]] = {}
        for node in order:
            sources = [*(tensor.node for tensor in _forward(graph, node)), *node.controls]
            frame = max((self.frames[name] for name in sources), key=len, default=())
            if node.op in _ENTER:
                frame = (*frame, str(node.attrs.get("frame_name", node.name)))
            self.contexts[node.name] = self._context(node, frame)
            self.frames[node.name] = frame[:-1] if node.op in _EXIT else frame

    def _context(self, node: Node, frame: tuple[str, ...]) -> frozenset[_Condition]:
        read = [self._of_tensor(tensor) for tensor in _forward(self._graph, node)]
        if node.op in _MERGE:
            return self._merged(node, read)
        context = frozenset().union(*read, *(self.contexts[name] for name in node.controls))
        if node.op in _EXIT:
            return frozenset(
                (tensor, value)
                for tensor, value in context
                if not (self._graph[tensor.node].op == "LoopCond" and self.frames[tensor.node] == frame)
            )
        return context

    def _of_tensor(self, tensor: Tensor) -> frozenset[_Condition]:
        context = self.contexts[tensor.node]
        node = self._graph[tensor.node]
        if node.op not in _SWITCH:
            return context
        own = (tensor, -1) if node.op == "_SwitchN" else (self._predicate(node), tensor.port)
        return context | {own}

    def _predicate(self, switch: Node) -> Tensor:
        tensor = switch.inputs[1]
        while (node := self._graph[tensor.node]).op == "Identity":
            tensor = node.inputs[0]
        return tensor

    def _merged(self, node: Node, read: Sequence[frozenset[_Condition]]) -> frozenset[_Condition]:
        if len(read) == 1 < len(node.inputs):
            return read[0]
        if len(read) == 2:
            different = read[0] ^ read[1]
            if not different:
                return read[0]
            if len(different) == 2 and len({tensor for tensor, _ in different}) == 1:
                return read[0] & read[1]
        return frozenset({(Tensor(node.name), -1)})
