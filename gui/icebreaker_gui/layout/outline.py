"""What a graph looks like as nested groups, before anything has a place.

Owns: which nodes are folded away into their consumers, which group each node lies in, which groups are made up from
structure, and which edges run where between siblings. Refuses: coordinates (`scene`, `layers`) and drawing (the app).

Groups come from four sources, in this order: the segments of a conversion, name scopes, repeated patterns in names,
and, where a group would still be a wall of boxes, cuts through a just-in-time order of its members at places where few
values cross.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import CONTROL_FLOW, PLACEHOLDERS
from icebreaker.tensors import Tensor

Cancelled = Callable[[], bool]

# Nodes inside functions that are shown at most.
_MOST_INNER = 20_000
# A group with more members than this is cut into parts.
MOST_MEMBERS = 24
# A leaf with more readers than this is drawn as stubs at all of them.
MOST_READERS = 40
# What passes its first input on unchanged; drawn as part of the edge.
_PASSING = frozenset({"Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics"})
# Ops whose result is no pure function of their inputs are never taken for constants.
_IMPURE = re.compile(
    r"Random|Multinomial|Variable|VarHandle|Table|Iterator|Queue|Stack|TensorArray|Reader|ReadFile|Placeholder"
    r"|Summary|Save|Restore|Print|Assert|PyFunc|Barrier|Stage|Bernoulli|Timestamp|Handle|Recv|Send|Arg|Retval|Assign"
)
# TensorFlow's own optimizer puts these before the names of nodes that it made.
_REWRITTEN = re.compile(
    r"^(ConstantFolding|ArithmeticOptimizer|LayoutOptimizer|DependencyOptimizer|LoopOptimizer|Func|scoped_allocator)/"
)
_ENDS = PLACEHOLDERS | {"Identity"}
# A new part starts well before these, and badly after what belongs to the op before.
_HEAVY = re.compile(r"Conv|MatMul|LSTM|GRU|Einsum")


class LayoutCancelled(Exception):
    """The caller's `cancelled` became true."""


@dataclass(frozen=True)
class Extra:
    """A box that the original graph does not have: a node of the optimized graph, or a layer inside an engine.

    Attributes:
        key: Its unique key; never the name of a node of the original graph.
        op: Its type, in words.
        label: What it is called.
        inputs: Keys or node names of its producers.
        segment: The segment that it is shown in, or "".
        outputs: Names of original nodes that read it now.
    """

    key: str
    op: str
    label: str
    inputs: tuple[str, ...]
    segment: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inner:
    """A node inside a function: `key` is how it is known here, `owner` the graph's node that calls the function."""

    key: str
    owner: str
    node: Node


@dataclass(frozen=True, eq=False)
class Level:
    """The edges between the members of one group, and those that cross its border.

    All numbers are item numbers; `edges` maps (from, to) to the producing leaves, in and out ports are
    (producer, member) pairs. Producers with very many readers are in `stubs` alone, with the members that read them.
    """

    members: tuple[int, ...]
    edges: Mapping[tuple[int, int], tuple[int, ...]]
    control: frozenset[tuple[int, int]]
    stubs: Mapping[int, tuple[int, ...]]
    entering: Mapping[int, tuple[int, ...]]
    leaving: Mapping[int, int]


@dataclass(eq=False)
class Outline:
    """The tree of groups and leaves of a graph. Item 0 is the root group.

    Attributes:
        keys: Unique text of each item: a leaf's node name, a group's path and a final `/`.
        labels: What to write on it.
        ops: A leaf's op type, "" for groups.
        parent: Its group; -1 for the root.
        members: Of each group, its items in reading order; empty for leaves.
        segment_of: Of each item that lies in a segment, the segment's group item, else -1.
        segments: Segment name → its group item.
        folded: Leaf item → names of nodes drawn as a badge on it.
        leaf: Node name → the leaf that shows it; nodes folded away have their host here.
        leaves: Number of leaves below each item (1 for a leaf).
        made_up: Groups that come from structure or name patterns, not from scopes.
        inner: Keys of nodes inside functions (a loop's body, a branch) → what they are.
        extra: Leaves that only the optimized graph has.
        source, target, control, tensor: One entry an edge between leaves.
    """

    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)
    parent: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    members: list[tuple[int, ...]] = field(default_factory=list)
    segments: dict[str, int] = field(default_factory=dict)
    segment_of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    folded: dict[int, tuple[str, ...]] = field(default_factory=dict)
    leaf: dict[str, int] = field(default_factory=dict)
    leaves: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    made_up: frozenset[int] = frozenset()
    inner: Mapping[str, Inner] = field(default_factory=dict)
    extra: frozenset[int] = frozenset()
    source: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    target: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    control: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    tensor: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._levels: dict[int, Level] = {}
        self._ops_below: dict[int, Counter[str]] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def is_group(self, item: int) -> bool:
        """True for groups, the root included."""
        return bool(self.members[item])

    def item(self, key: str) -> int | None:
        """The item with that key."""
        if not hasattr(self, "_items"):
            self._items = {key: number for number, key in enumerate(self.keys)}
        return self._items.get(key)

    def ancestors(self, item: int) -> tuple[int, ...]:
        """The groups around an item, innermost first, the root last."""
        found = []
        while (item := int(self.parent[item])) >= 0:
            found.append(item)
        return tuple(found)

    def leaves_of(self, item: int) -> list[int]:
        """All leaves below an item, in reading order; the item itself if it is one."""
        found, stack = [], [item]
        while stack:
            item = stack.pop()
            if self.members[item]:
                stack.extend(reversed(self.members[item]))
            else:
                found.append(item)
        return found

    def op_counts(self, item: int) -> Counter[str]:
        """Op type → number of leaves below an item."""
        if item not in self._ops_below:
            self._ops_below[item] = Counter(self.ops[leaf] for leaf in self.leaves_of(item))
        return self._ops_below[item]

    def first_open(self, most: int = 36) -> frozenset[int]:
        """Groups to open at first: the root, what holds segments, and whatever stands nearly alone in what is open.

        The largest segments come first; opening stops where more than `most` boxes would be seen.
        """
        opened = {0}
        shown = len(self.members[0])
        for segment in sorted(self.segments.values(), key=lambda item: (-self.leaves[item], item)):
            wanted = [group for group in (segment, *self.ancestors(segment)) if group not in opened]
            more = sum(len(self.members[group]) for group in wanted)
            if shown + more <= most or len(opened) == 1:
                opened.update(wanted)
                shown += more
        # One group among a few placeholders and outputs: nobody came to see it closed, as long as words can be read.
        most = most * 2 // 3 if self.segments else most
        queue = sorted(opened) if not self.segments else sorted(set(self.segments.values()) & opened)
        while queue:
            group = queue.pop(0)
            inner = [item for item in self.members[group] if self.members[item] and item not in opened]
            if len(inner) == 1 and shown + len(self.members[inner[0]]) <= most and len(self.members[group]) <= 12:
                opened.add(inner[0])
                queue.append(inner[0])
                shown += len(self.members[inner[0]])
        return frozenset(opened)

    def level(self, group: int, check: Callable[[], None] = lambda: None) -> Level:
        """The edges among and around the members of a group; `check` is called now and then and may raise to stop."""
        if group not in self._levels:
            self._levels[group] = self._make_level(group, check)
        return self._levels[group]

    def lift(self) -> None:
        """Finds for each edge the groups it runs through. Called once, when the tree is complete."""
        parent = self.parent
        depth = np.zeros(len(parent), np.int32)
        climb = parent.copy()
        while (climb >= 0).any():
            depth += climb >= 0
            climb = np.where(climb >= 0, parent[climb], -1)
        a, b = self.source.copy(), self.target.copy()
        number = np.arange(len(a))
        outer, inner = [], []  # (group, member, edge) of crossings at the source's and at the target's side
        while True:
            pa, pb = parent[a], parent[b]
            apart = pa != pb
            if not apart.any():
                break
            up_a = apart & (depth[a] >= depth[b])
            up_b = apart & (depth[b] >= depth[a])
            outer.append(np.stack([pa[up_a], a[up_a], number[up_a]]))
            inner.append(np.stack([pb[up_b], b[up_b], number[up_b]]))
            a, b = np.where(up_a, pa, a), np.where(up_b, pb, b)
        self._inside = _by_group(np.stack([parent[a], a, b, number]))
        empty = np.zeros((3, 0), np.int64)
        self._leaving = _by_group(np.concatenate([empty, *outer], axis=1))
        self._entering = _by_group(np.concatenate([empty, *inner], axis=1))

    def _make_level(self, group: int, check: Callable[[], None]) -> Level:
        if not hasattr(self, "_hubs"):
            # Each leaf counts a reader once, however many of its values go there.
            pairs = np.unique(self.source * len(self.keys) + self.target)
            readers = np.bincount(pairs // len(self.keys), minlength=len(self.keys))
            self._hubs = set(np.flatnonzero(readers > MOST_READERS).tolist())
        hubs = self._hubs
        stubs: dict[int, dict[int, None]] = {}
        edges: dict[tuple[int, int], dict[int, None]] = {}
        data: set[tuple[int, int]] = set()
        source, control = self.source, self.control
        check()
        rows = _rows(self._inside, group)
        for turn, (a, b, edge) in enumerate(zip(*(row.tolist() for row in rows[1:]), strict=True)):
            if not turn % 1024:
                check()
            if int(source[edge]) in hubs:
                stubs.setdefault(int(source[edge]), {})[b] = None
                continue
            edges.setdefault((a, b), {})[int(source[edge])] = None
            if not control[edge]:
                data.add((a, b))
        check()
        entering: dict[int, dict[int, None]] = {}
        for member, edge in zip(*(row.tolist() for row in _rows(self._entering, group)[1:]), strict=True):
            (stubs if int(source[edge]) in hubs else entering).setdefault(int(source[edge]), {})[member] = None
        leaving: dict[int, int] = {}
        for member, edge in zip(*(row.tolist() for row in _rows(self._leaving, group)[1:]), strict=True):
            if int(source[edge]) not in hubs:
                leaving[int(source[edge])] = member
        return Level(
            self.members[group],
            {key: tuple(value) for key, value in edges.items()},
            frozenset(edges) - data,
            {key: tuple(value) for key, value in stubs.items()},
            {key: tuple(value) for key, value in entering.items()},
            leaving,
        )


def _by_group(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(table[0], kind="stable")
    return table[0][order], table[:, order]


def _rows(table: tuple[np.ndarray, np.ndarray], group: int) -> np.ndarray:
    first, last = np.searchsorted(table[0], [group, group + 1])
    return table[1][:, first:last]


def build(
    graph: Graph,
    segments: Mapping[str, Iterable[str]] | None = None,
    outputs: Sequence[str] = (),
    extras: Sequence[Extra] = (),
    show_folded: bool = False,
    cancelled: Cancelled = lambda: False,
) -> Outline:
    """Makes the outline of a graph.

    Args:
        graph: The original graph.
        segments: Engine node → names of the original nodes inside.
        outputs: Tensors or nodes that are never folded away.
        extras: Boxes of the optimized graph to show as well.
        show_folded: True to draw constants and identities as boxes of their own.
        cancelled: Asked now and then.

    Raises:
        LayoutCancelled: `cancelled` became true.
    """
    kept = {Tensor.parse(name).node for name in outputs}
    segment_of: dict[str, str] = {}
    for name, nodes in (segments or {}).items():
        for node in nodes:
            segment_of.setdefault(node, name)
    behind, hosts = ({}, {}) if show_folded else _fold(graph, kept)
    if cancelled():
        raise LayoutCancelled
    tree = _Tree()
    shown = [node for node in graph if node.name not in behind and node.name not in hosts]
    inner = _open_functions(graph, shown, behind, hosts, show_folded)
    owners = {key: item.owner for key, item in inner.items()}
    tree.place([(node.name, node.op, segment_of.get(owners.get(node.name, node.name), "")) for node in shown], extras)
    if cancelled():
        raise LayoutCancelled
    tree.connect(graph, shown, behind, hosts, extras)
    tree.simplify()
    tree.split(cancelled)
    outline = tree.outline(segments or {})
    outline.inner = inner
    folded: dict[int, list[str]] = {}
    for name, readers in hosts.items():
        leaves = [outline.leaf[reader] for reader in readers if reader in outline.leaf]
        for leaf in leaves:
            folded.setdefault(leaf, []).append(name)
        if leaves:
            outline.leaf[name] = leaves[0]
    outline.folded = {leaf: tuple(names) for leaf, names in folded.items()}
    outline.lift()
    return outline


def _fold(graph: Graph, kept: set[str]) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Which nodes are not drawn.

    Returns:
        Passing nodes → the tensor behind them (constants have none and are missing here); every folded node → the
        drawn nodes that carry its badge.
    """
    consumers = graph.consumers
    constant: set[str] = set()
    passing: dict[str, Tensor] = {}
    # A node is folded after its inputs; a v1 loop's body waits for its Merge, which is never folded.
    waiting = {node.name: len({t.node for t in node.inputs} | set(node.controls)) for node in graph}
    ready = [node for node in graph if not waiting[node.name]]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for reader in consumers[node.name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(graph[reader])
    seen = {node.name for node in order}
    order.extend(node for node in graph if node.name not in seen)
    for node in order:
        name = node.name
        if name in kept or not consumers[name]:
            if node.op == "NoOp" and not node.inputs and not node.controls and name not in kept:
                constant.add(name)
            continue
        needs = {tensor.node for tensor in node.inputs} | set(node.controls)
        if node.op == "Const" or (needs and needs <= constant and _is_pure(node.op) and not node.functions):
            constant.add(name)
        elif node.op in _PASSING and node.inputs and name not in graph.functions:
            first = node.inputs[0]
            passing[name] = passing.get(first.node) or first
        elif node.op == "NoOp":
            constant.add(name)
    hosts: dict[str, list[str]] = {}
    reads = {node.name: {tensor.node for tensor in node.inputs} for node in graph}
    for node in reversed(order):
        name = node.name
        if name in constant or name in passing:
            found: dict[str, None] = {}
            for reader in consumers[name]:
                if name not in reads[reader]:
                    continue  # it only waits
                if reader in hosts:
                    found.update(dict.fromkeys(hosts[reader][:1]))
                elif reader not in constant and reader not in passing:
                    found[reader] = None
            hosts[name] = list(found)
    return passing, hosts


def _open_functions(
    graph: Graph, shown: list[Node], behind: dict[str, Tensor], hosts: dict[str, list[str]], show_folded: bool
) -> dict[str, Inner]:
    """Adds what is inside the functions that nodes call (the body of a While) as nodes in a scope named like the node.

    Every list and table is extended in place.
    """
    library = {function.signature.name: function for function in graph.definition.library.function}
    found: dict[str, Inner] = {}
    if not library:
        return found
    waiting = [(node, node.name, node.name, 0) for node in shown]
    while waiting:
        node, key, owner, depth = waiting.pop()
        for role, value in sorted(node.definition.attr.items()):
            body = library.get(value.func.name) if value.WhichOneof("value") == "func" else None
            if body is None or depth > 3 or len(found) + len(body.node_def) > _MOST_INNER:
                continue
            try:
                inside = _graph_of(graph, body)
            except IcebreakerError:
                continue  # it cannot be shown, but the graph can
            prefix = f"{key}/{role}/"
            passing, held = ({}, {}) if show_folded else _fold(inside, set())
            behind.update(
                (prefix + name, Tensor(prefix + tensor.node, tensor.port)) for name, tensor in passing.items()
            )
            hosts.update((prefix + name, [prefix + reader for reader in readers]) for name, readers in held.items())
            for item in inside:
                name = prefix + item.name
                found[name] = Inner(name, owner, item)
                if item.name in passing or item.name in held:
                    continue
                inputs = tuple(Tensor(prefix + tensor.node, tensor.port) for tensor in item.inputs)
                # What the call gets goes to the function's arguments.
                controls = (key,) if item.op == "_Arg" else tuple(prefix + text for text in item.controls)
                made = Node(name, item.op, inputs, controls, item.device, item.definition)
                shown.append(made)
                waiting.append((made, name, owner, depth + 1))
    return found


def _graph_of(graph: Graph, body: Any) -> Graph:
    """A function's body as a graph of its own; its arguments are nodes of the op `_Arg`."""
    definition = type(graph.definition)()
    for argument in body.signature.input_arg:
        definition.node.add(name=argument.name, op="_Arg")
    for item in body.node_def:
        node = definition.node.add()
        node.CopyFrom(item)
        # A tensor is `node:output:index` in a function.
        node.ClearField("input")
        for text in item.input:
            parts = text.split(":")
            port = parts[2] if len(parts) == 3 else "0"
            node.input.append(parts[0] if port == "0" else f"{parts[0]}:{port}")
    return Graph(definition)


def _is_pure(op: str) -> bool:
    return op not in CONTROL_FLOW and not _IMPURE.search(op)


class _Tree:
    """The tree while it is being made: lists that grow, made into arrays at the end."""

    def __init__(self) -> None:
        self.keys = [""]
        self.labels = [""]
        self.ops = [""]
        self.parent = [-1]
        self.members: list[list[int]] = [[]]
        self.is_group = [True]
        self.segments: dict[str, int] = {}
        self.leaf: dict[str, int] = {}
        self.made_up: set[int] = set()
        self.extra: set[int] = set()
        self.taken: set[str] = set()

    def add(self, key: str, label: str, op: str, parent: int, group: bool) -> int:
        number = len(self.keys)
        while key in self.taken:
            key += "′"
        self.taken.add(key)
        self.keys.append(key)
        self.labels.append(label)
        self.ops.append(op)
        self.parent.append(parent)
        self.members.append([])
        self.is_group.append(group)
        self.members[parent].append(number)
        return number

    def place(self, nodes: list[tuple[str, str, str]], extras: Sequence[Extra]) -> None:
        """Puts every drawn node into its segment and scope."""
        scopes: dict[tuple[int, str], int] = {}
        at: dict[tuple[str, str], int] = {}
        common: dict[str, list[str]] = {}
        for name, _, segment in nodes:
            if segment:
                parts = _REWRITTEN.sub("", name).split("/")[:-1]
                if segment in common:
                    known = common[segment]
                    same = next(
                        (i for i, (x, y) in enumerate(zip(known, parts, strict=False)) if x != y),
                        min(len(known), len(parts)),
                    )
                    common[segment] = known[:same]
                else:
                    common[segment] = parts

        def scope(segment: str, path: str) -> int:
            group = at.get((segment, path))
            if group is not None:
                return group
            parts = path.split("/") if path else []
            group = 0
            around = common.get(segment, [])
            for position in range(len(parts) + 1):
                if segment and position == len(around):
                    if segment not in self.segments:
                        key = "/".join([*around, segment])
                        self.segments[segment] = self.add(key + "/", segment, "", group, True)
                    group = self.segments[segment]
                if position < len(parts):
                    inner = scopes.get((group, parts[position]))
                    if inner is None:
                        key = self.keys[group] + parts[position] + "/"
                        inner = scopes[group, parts[position]] = self.add(key, parts[position], "", group, True)
                    group = inner
            at[segment, path] = group
            return group

        prefixes: set[str] = set()
        for name, _, _ in nodes:
            path = _REWRITTEN.sub("", name).rpartition("/")[0]
            while path and path not in prefixes:
                prefixes.add(path)
                path = path.rpartition("/")[0]
        for name, op, segment in nodes:
            path, _, label = _REWRITTEN.sub("", name).rpartition("/")
            # An op that is named like a scope (`dense` beside `dense/kernel`) belongs into that scope.
            self.leaf[name] = self.add(name, label, op, scope(segment, name if name in prefixes else path), False)
        for extra in extras:
            group = 0
            if extra.segment in self.segments:
                inside = scopes.get((self.segments[extra.segment], "\0"))
                if inside is None:
                    home = self.segments[extra.segment]
                    inside = scopes[home, "\0"] = self.add(self.keys[home] + "«engine layers»/", "engine layers", "",
                                                           home, True)  # fmt: skip
                group = inside
            self.leaf[extra.key] = self.add(extra.key, extra.label, extra.op, group, False)
            self.extra.add(self.leaf[extra.key])

    def connect(
        self,
        graph: Graph,
        shown: list,
        behind: Mapping[str, Tensor],
        hosts: Mapping[str, list[str]],
        extras: Sequence[Extra],
    ) -> None:
        """Makes the edges between leaves, past everything that is folded."""
        source, target, control, tensors = [], [], [], []
        leaf = self.leaf

        def link(a: int, b: int, is_control: bool, tensor: Tensor) -> None:
            if a == b:
                return  # a loop whose every other part is folded
            source.append(a)
            target.append(b)
            control.append(is_control)
            tensors.append(tensor)

        for node in shown:
            b = leaf[node.name]
            seen: set[Tensor] = set()
            linked: set[int] = set()
            for tensor in node.inputs:
                tensor = behind.get(tensor.node, tensor)
                a = leaf.get(tensor.node)
                if a is not None and tensor not in seen:
                    seen.add(tensor)
                    linked.add(a)
                    link(a, b, False, tensor)
            for name in node.controls:
                name = behind[name].node if name in behind else name
                a = leaf.get(name)
                if a is not None and a not in linked and a != b:
                    linked.add(a)
                    link(a, b, True, Tensor(name))
        for extra in extras:
            for name in extra.inputs:
                name = behind[name].node if name in behind else name
                if name in leaf:
                    link(leaf[name], leaf[extra.key], False, Tensor(name))
            for name in extra.outputs:
                reader = name if name in leaf else next(iter(hosts.get(name, ())), "")
                if reader in leaf:
                    link(leaf[extra.key], leaf[reader], False, Tensor(extra.key))
        self.source, self.target = source, target
        self.control, self.tensors = control, tensors

    def simplify(self) -> None:
        """Draws a group of one as that one; joins the names of groups in a row."""
        segments = set(self.segments.values())
        # Children have higher numbers than their parents, so going down by number sees children first.
        for group in range(len(self.keys) - 1, 0, -1):
            if not self.is_group[group] or group in segments or len(self.members[group]) != 1:
                continue
            (only,) = self.members[group]
            home = self.parent[group]
            if self.is_group[only] and only not in segments:
                self.labels[only] = f"{self.labels[group]}/{self.labels[only]}"
            elif not self.is_group[only]:
                self.labels[only] = self.labels[group]
            if home >= 0:
                self.members[home][self.members[home].index(group)] = only
                self.parent[only] = home
                self.members[group] = []
                self.parent[group] = -2
        for home in [0, *sorted(segments)]:
            # A root or segment that holds nothing but one scope shows what is in the scope.
            while len(self.members[home]) == 1 and self.is_group[only := self.members[home][0]]:
                if only in segments:
                    break
                self.members[home] = self.members[only]
                for item in self.members[only]:
                    self.parent[item] = home
                self.members[only], self.parent[only] = [], -2

    def split(self, cancelled: Cancelled) -> None:
        """Cuts groups with too many members into parts."""
        inside = self._edges_by_group()
        if self._dissolve(inside):
            inside = self._edges_by_group()
        for group in [g for g, items in enumerate(self.members) if len(items) > MOST_MEMBERS]:
            if cancelled():
                raise LayoutCancelled
            self._split_group(group, list(self.members[group]), inside.get(group, []))

    def _edges_by_group(self) -> dict[int, list[tuple[int, int]]]:
        """Group → edges between its members."""
        parent = np.array(self.parent, np.int64)
        inside: dict[int, list[tuple[int, int]]] = {}
        a, b = np.array(self.source, np.int64), np.array(self.target, np.int64)
        depth = np.zeros(len(parent), np.int32)
        climb = parent.copy()
        while (climb >= 0).any():
            depth += climb >= 0
            climb = np.where(climb >= 0, parent[climb], -1)
        while len(a):
            pa, pb = parent[a], parent[b]
            same = pa == pb
            for group, x, y in zip(pa[same].tolist(), a[same].tolist(), b[same].tolist(), strict=True):
                if x != y:
                    inside.setdefault(group, []).append((x, y))
            a, b, pa, pb = a[~same], b[~same], pa[~same], pb[~same]
            up_a, up_b = depth[a] >= depth[b], depth[b] >= depth[a]
            a, b = np.where(up_a, pa, a), np.where(up_b, pb, b)
        return inside

    def _dissolve(self, inside: Mapping[int, list[tuple[int, int]]]) -> bool:
        """Takes scopes away that are none: what is in them hangs together outside, in circles through the scope.

        Converters leave such names: all activations in one scope, what lies between them in none.
        """
        segments = set(self.segments.values())
        gone = []
        for group, edges in inside.items():
            members = self.members[group]
            scopes = [item for item in members if len(self.members[item]) > 6 and item not in segments]
            if not scopes:
                continue
            number = {item: i for i, item in enumerate(members)}
            near: dict[int, list[int]] = {}
            for a, b in edges:
                near.setdefault(number[a], []).append(number[b])
            circular = _circular(len(members), near)
            for scope in scopes:
                if number[scope] in circular:
                    joined = {x for edge in inside.get(scope, ()) for x in edge}
                    if len(joined) < 0.5 * len(self.members[scope]):
                        gone.append(scope)
        for scope in sorted(gone, reverse=True):
            home = self.parent[scope]
            place = self.members[home].index(scope)
            self.members[home][place : place + 1] = self.members[scope]
            for item in self.members[scope]:
                self.parent[item] = home
            self.members[scope], self.parent[scope] = [], -2
        return bool(gone)

    def _split_group(self, group: int, items: list[int], edges: list[tuple[int, int]], depth: int = 0) -> None:
        if len(items) <= MOST_MEMBERS or depth > 12:
            return
        # The graph's own inputs and outputs stay in sight.
        ends = [item for item in items if not self.is_group[item] and self.ops[item] in _ENDS]
        if len(ends) <= 16:
            items = [item for item in items if item not in set(ends)]
            edges = [(a, b) for a, b in edges if a not in set(ends) and b not in set(ends)]
        else:
            ends = []
        sequence = just_in_time(items, edges)
        found = _apart(self._by_name(group, sequence, edges), edges)
        parts = [(label, part) for label, part in found if len(part) > 1]
        if len(found) > MOST_MEMBERS:
            # Names were not enough: cut the order in which things happen, whole name groups at a time.
            home: dict[int, int] = {}
            for number, (_, part) in enumerate(found):
                home.update(dict.fromkeys(part, number))
            lifted = list({(home[a], home[b]): None for a, b in edges if home[a] != home[b]})
            order = just_in_time(list(range(len(found))), lifted)
            cuts = _cut(order, lifted, [self._starts(found[i][1]) for i in order])
            inner = []
            for chunk in cuts:
                if len(chunk) == 1:
                    inner.append(found[chunk[0]])
                else:
                    inner.append((self._name_of([found[i] for i in chunk]), [x for i in chunk for x in found[i][1]]))
            parts = [(label, part) for label, part in inner if len(part) > 1]
        if len(parts) == 1 and len(parts[0][1]) == len(items):
            return
        grouped = {item for _, part in parts for item in part}
        first = {part[0]: (label, part) for label, part in parts}
        self.members[group] = [item for item in ends if self.ops[item] in PLACEHOLDERS]
        made: list[tuple[int, list[int]]] = []
        for item in sequence:
            if item in first:
                label, part = first[item]
                number = self.add(f"{self.keys[group]}{label}*/", label, "", group, True)
                self.made_up.add(number)
                self.members[number] = part
                for member in part:
                    self.parent[member] = number
                made.append((number, part))
            elif item not in grouped:
                self.members[group].append(item)
        self.members[group] += [item for item in ends if self.ops[item] not in PLACEHOLDERS]
        by_part: dict[int, list[tuple[int, int]]] = {number: [] for number, _ in made}
        for a, b in edges:
            if self.parent[a] == self.parent[b] and self.parent[a] in by_part:
                by_part[self.parent[a]].append((a, b))
        for number, part in made:
            self._split_group(number, part, by_part[number], depth + 1)

    def _starts(self, part: list[int]) -> bool:
        """True if a part may well begin with these items."""
        return self.is_group[part[0]] or bool(_HEAVY.search(self.ops[part[0]]))

    def _name_of(self, found: list[tuple[str, list[int]]]) -> str:
        """A name for a part: what its members' names have in common, else its first and last."""
        labels = [label or self.labels[part[0]] for label, part in found]
        tokens = [re.split(r"[_\-.]", label) for label in labels]
        shared = []
        for column in zip(*tokens, strict=False):
            if len(set(column)) > 1:
                break
            shared.append(column[0])
        if shared and not re.fullmatch(r"[a-z0-9]*", "_".join(shared)):
            return "_".join(shared)
        first, last = (label.partition("/")[0].partition(" … ") for label in (labels[0], labels[-1]))
        return f"{first[0]} … {last[2] or last[0]}"

    def _by_name(self, group: int, sequence: list[int], edges: list[tuple[int, int]]) -> list[tuple[str, list[int]]]:
        """Groups by common beginnings of names, where those that share one also lie together in the graph."""
        position = {item: i for i, item in enumerate(sequence)}
        out: dict[int, list[int]] = {}
        for a, b in edges:
            out.setdefault(a, []).append(b)
        tokens = {item: re.findall(r"[^_\-.]+", self.labels[item]) or [""] for item in sequence}
        around = len(re.findall(r"[^_\-.]+", self.labels[group])) if group in self.made_up else 0
        result: list[tuple[str, list[int]]] = []

        def holds(part: list[int]) -> bool:
            low, high = position[part[0]], position[part[-1]]
            if high - low + 1 > 1.5 * len(part) + 2:
                return False
            inside, seen = set(part), set()
            stack = [b for a in part for b in out.get(a, ()) if b not in inside]
            while stack:  # no way out and in again, or the group would wait for itself
                item = stack.pop()
                if item in inside:
                    return False
                if item not in seen and position[item] < high:
                    seen.add(item)
                    stack.extend(out.get(item, ()))
            return True

        def walk(part: list[int], length: int) -> None:
            heads: dict[str, list[int]] = {}
            for item in part:
                head = "_".join(tokens[item][: length + 1]) if len(tokens[item]) > length else ""
                heads.setdefault(head or f"\0{item}", []).append(item)
            for head, inner in heads.items():
                if len(inner) == 1:
                    result.append((self.labels[inner[0]], inner))
                elif len(inner) < len(sequence) * 0.9 and holds(inner):
                    result.append((head, inner))
                elif all(len(tokens[item]) <= length + 1 for item in inner):
                    result.extend((self.labels[item], [item]) for item in inner)
                else:
                    walk(inner, length + 1)

        walk(sequence, around)
        result.sort(key=lambda entry: position[entry[1][0]])
        return result

    def outline(self, segments: Mapping[str, Iterable[str]]) -> Outline:
        """The finished outline, items numbered so that parents come before their members."""
        order, stack = [], [0]
        while stack:
            item = stack.pop()
            order.append(item)
            stack.extend(reversed(self.members[item]))
        number = {item: i for i, item in enumerate(order)}
        parent = np.array([-1, *(number[self.parent[item]] for item in order[1:])], np.int64)
        members = [tuple(number[item] for item in self.members[old]) for old in order]
        found = {name: number[self.segments[name]] for name in segments if self.segments.get(name) in number}
        segment_of = np.full(len(order), -1, np.int64)
        for group in found.values():
            segment_of[group] = group
        for item in range(1, len(order)):
            if segment_of[item] < 0:
                segment_of[item] = segment_of[parent[item]]
        leaves = np.array([0 if items else 1 for items in members], np.int64)
        for item in range(len(order) - 1, 0, -1):
            leaves[parent[item]] += leaves[item]
        renumber = np.zeros(len(self.keys), np.int64)
        renumber[order] = np.arange(len(order))
        return Outline(
            keys=[self.keys[item] for item in order],
            labels=[self.labels[item] for item in order],
            ops=[self.ops[item] for item in order],
            parent=parent,
            members=members,
            segments=found,
            segment_of=segment_of,
            leaf={name: number[item] for name, item in self.leaf.items()},
            leaves=leaves,
            made_up=frozenset(number[item] for item in self.made_up if item in number),
            extra=frozenset(number[item] for item in self.extra),
            source=renumber[np.array(self.source, np.int64)],
            target=renumber[np.array(self.target, np.int64)],
            control=np.array(self.control, bool),
            tensor=self.tensors,
        )


def just_in_time(items: list[int], edges: Iterable[tuple[int, int]]) -> list[int]:
    """Orders items so that each comes after what it reads, and side inputs right before their reader.

    A depth-first walk from the sinks that visits the deepest input first. Edges of cycles are passed over.
    """
    needs: dict[int, list[int]] = {item: [] for item in items}
    is_read: set[int] = set()
    for a, b in edges:
        needs[b].append(a)
        is_read.add(a)
    depth: dict[int, int] = {}
    for root in items:  # longest way from a source, cycles cut where the walk meets itself
        stack = [(root, iter(needs[root]))] if root not in depth else []
        if stack:
            depth[root] = 0
        while stack:
            item, rest = stack[-1]
            for other in rest:
                if other not in depth:
                    depth[other] = 0
                    stack.append((other, iter(needs[other])))
                    break
            else:
                stack.pop()
                depth[item] = 1 + max((depth[other] for other in needs[item]), default=-1)
    order: list[int] = []
    done: set[int] = set()
    sinks = sorted((item for item in items if item not in is_read), key=lambda item: -depth[item])
    for root in [*sinks, *items]:
        if root in done:
            continue
        done.add(root)
        stack = [(root, iter(sorted(needs[root], key=lambda other: -depth[other])))]
        while stack:
            item, rest = stack[-1]
            for other in rest:
                if other not in done:
                    done.add(other)
                    stack.append((other, iter(sorted(needs[other], key=lambda inner: -depth[inner]))))
                    break
            else:
                stack.pop()
                order.append(item)
    return order


def _apart(found: list[tuple[str, list[int]]], edges: list[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """Takes groups apart that would wait for one another: A reads from B and B from A."""
    while True:
        home = {item: number for number, (_, part) in enumerate(found) for item in part}
        near: dict[int, list[int]] = {}
        for a, b in edges:
            if home[a] != home[b]:
                near.setdefault(home[a], []).append(home[b])
        circular = {n for n in _circular(len(found), near) if len(found[n][1]) > 1}
        if not circular:
            return found
        found = [
            entry
            for number, (label, part) in enumerate(found)
            for entry in ([("", [item]) for item in part] if number in circular else [(label, part)])
        ]


def _circular(count: int, near: Mapping[int, list[int]]) -> set[int]:
    """Numbers that lie on a cycle (Tarjan's strongly connected components of more than one)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: set[int] = set()
    for root in range(count):
        if root in index:
            continue
        work = [(root, iter(near.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            item, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(near.get(other, ()))))
                    break
                if other in on_stack:
                    low[item] = min(low[item], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[item])
                if low[item] == index[item]:
                    part = []
                    while True:
                        other = stack.pop()
                        on_stack.discard(other)
                        part.append(other)
                        if other == item:
                            break
                    if len(part) > 1:
                        found.update(part)
    return found


def _cut(order: list[int], edges: list[tuple[int, int]], starts: list[bool]) -> list[list[int]]:
    """Cuts an order into parts of like size where few values cross (dynamic programming over the cuts)."""
    count = len(order)
    position = {item: i for i, item in enumerate(order)}
    last: dict[int, int] = {}
    for a, b in edges:
        last[position[a]] = max(last.get(position[a], 0), position[b])
    change = np.zeros(count + 1)
    for first, end in last.items():
        if end > first:
            change[first + 1] += 1
            change[end + 1] -= 1
    width = np.cumsum(change)[:count]  # values that cross the cut before each position
    cost = (width - width[1:].min(initial=1e9)).clip(0, 20) * 0.5 + np.where(starts, 0.0, 0.4)
    parts = int(min(16, max(4, round(count**0.5))))
    wanted = count / parts
    longest = int(wanted * 2) + 1
    best = np.full(count + 1, np.inf)
    best[0] = 0
    came = np.zeros(count + 1, np.int64)
    for end in range(1, count + 1):
        low = max(0, end - longest)
        sizes = end - np.arange(low, end)
        total = best[low:end] + (np.abs(sizes - wanted) / wanted) ** 2 + (cost[end] if end < count else 0.0)
        choice = int(np.argmin(total))
        best[end], came[end] = total[choice], low + choice
    cuts, end = [], count
    while end:
        cuts.append(order[came[end] : end])
        end = int(came[end])
    return cuts[::-1]
