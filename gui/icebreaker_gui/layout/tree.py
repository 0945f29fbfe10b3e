"""The tree of segments, scopes and leaves, and the edges between leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from icebreaker.graph.graph import Node
from icebreaker.tensors import Tensor
from icebreaker_gui.layout.outline import Extra, Outline

# TensorFlow's own optimizer puts these before the names of nodes that it made.
_REWRITTEN = re.compile(
    r"^(ConstantFolding|ArithmeticOptimizer|LayoutOptimizer|DependencyOptimizer|LoopOptimizer|Func|scoped_allocator)/"
)


class Tree:
    """The tree while it is being made: lists that grow, made into arrays at the end.

    Items are numbered in the order in which they came; 0 is the root. The lists have an entry for each: its key, its
    label, its op ("" for groups), its parent (-2 once it is taken away), its members, whether it is a group. `source`,
    `target`, `control` and `tensors` have one for each edge between leaves.
    """

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
        self.source: list[int] = []
        self.target: list[int] = []
        self.control: list[bool] = []
        self.tensors: list[Tensor] = []
        self._taken: set[str] = set()

    def add(self, key: str, label: str, op: str, parent: int, group: bool) -> int:
        """Adds an item to a group; its key gets a mark if there is one like it. Returns its number."""
        number = len(self.keys)
        while key in self._taken:
            key += "′"
        self._taken.add(key)
        self.keys.append(key)
        self.labels.append(label)
        self.ops.append(op)
        self.parent.append(parent)
        self.members.append([])
        self.is_group.append(group)
        self.members[parent].append(number)
        return number

    def place(self, nodes: list[tuple[str, str, str]], extras: Sequence[Extra]) -> None:
        """Puts every drawn node into its segment and scope.

        Args:
            nodes: Name, op and segment ("" for none) of each.
            extras: Boxes of the optimized graph.
        """
        scopes: dict[tuple[int, str], int] = {}
        at: dict[tuple[str, str], int] = {}
        common = _common_scopes(nodes)

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
        plain = [_REWRITTEN.sub("", name) for name, _, _ in nodes]
        for name in plain:
            path = name.rpartition("/")[0]
            while path and path not in prefixes:
                prefixes.add(path)
                path = path.rpartition("/")[0]
        for (name, op, segment), known in zip(nodes, plain, strict=True):
            path, _, label = known.rpartition("/")
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
        shown: Sequence[Node],
        behind: Mapping[str, Tensor],
        hosts: Mapping[str, list[str]],
        extras: Sequence[Extra],
    ) -> None:
        """Makes the edges between leaves, past everything that is folded.

        Args:
            shown: The drawn nodes.
            behind: Nodes that pass their input on → the tensor behind them.
            hosts: Folded nodes → the drawn nodes that carry their badge.
            extras: Boxes of the optimized graph.
        """
        leaf = self.leaf

        def link(a: int, b: int, is_control: bool, tensor: Tensor) -> None:
            if a == b:
                return  # a loop whose every other part is folded
            self.source.append(a)
            self.target.append(b)
            self.control.append(is_control)
            self.tensors.append(tensor)

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
        groups = {name: number[self.segments[name]] for name in segments if self.segments.get(name) in number}
        segment_of = np.full(len(order), -1, np.int64)
        for group in groups.values():
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
            segments=groups,
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


def _common_scopes(nodes: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    """Segment → the parts of the innermost scope that holds all of its nodes."""
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
    return common
