"""What a graph looks like as nested groups, before anything has a place; `build` makes it.

Owns: which group each node lies in, and which edges run where between the members of a group. Refuses: coordinates
(`drawing`, `layering`) and painting (the graph view).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from icebreaker.graph.graph import Node
from icebreaker.tensors import Tensor

Cancelled = Callable[[], bool]

# A leaf with more readers than this is drawn as stubs at all of them.
MOST_READERS = 40


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
        self._items: dict[str, int] = {}
        self._hubs: set[int] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def is_group(self, item: int) -> bool:
        """True for groups, the root included."""
        return bool(self.members[item])

    def item(self, key: str) -> int | None:
        """The item with that key."""
        if not self._items:
            self._items = {key: number for number, key in enumerate(self.keys)}
        return self._items.get(key)

    def ancestors(self, item: int) -> tuple[int, ...]:
        """The groups around an item, innermost first, the root last."""
        groups = []
        while (item := int(self.parent[item])) >= 0:
            groups.append(item)
        return tuple(groups)

    def leaves_of(self, item: int) -> list[int]:
        """All leaves below an item, in reading order; the item itself if it is one."""
        leaves, stack = [], [item]
        while stack:
            item = stack.pop()
            if self.members[item]:
                stack.extend(reversed(self.members[item]))
            else:
                leaves.append(item)
        return leaves

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

    def index_edges(self) -> None:
        """Notes for each edge in which group it joins two members, and which groups' borders it crosses until there.

        `level` looks that up. Called once, when the tree and the edges are complete.
        """
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
        if self._hubs is None:
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
    """A table, [columns, rows], sorted by its first column, which are groups, and that column."""
    order = np.argsort(table[0], kind="stable")
    return table[0][order], table[:, order]


def _rows(table: tuple[np.ndarray, np.ndarray], group: int) -> np.ndarray:
    """The rows of one group in such a table."""
    first, last = np.searchsorted(table[0], [group, group + 1])
    return table[1][:, first:last]
