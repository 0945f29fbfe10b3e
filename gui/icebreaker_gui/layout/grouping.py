"""Groups with too many members are cut into parts: by common names, then where few values cross.

A wall of boxes tells nothing. A part must hang together: no value may leave it and come back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from icebreaker.graph.ops import PLACEHOLDERS
from icebreaker_gui.layout.orders import circular, just_in_time
from icebreaker_gui.layout.outline import Cancelled, LayoutCancelled
from icebreaker_gui.layout.tree import Tree

# A group with more members than this is cut into parts.
MOST_MEMBERS = 24
_ENDS = PLACEHOLDERS | {"Identity"}
# A new part starts well before these, and badly after what belongs to the op before.
_HEAVY = re.compile(r"Conv|MatMul|LSTM|GRU|Einsum")

Part = tuple[str, list[int]]  # a name, "" for none, and items


class Splitter:
    """Cuts the groups of a tree into parts of at most `most` members."""

    def __init__(self, tree: Tree, most: int = MOST_MEMBERS) -> None:
        self._tree, self._most = tree, most

    def split(self, cancelled: Cancelled) -> None:
        """Cuts all groups with too many members into parts.

        Raises:
            LayoutCancelled: `cancelled` became true.
        """
        tree = self._tree
        inside = self._edges_by_group()
        if self._dissolve(inside):
            inside = self._edges_by_group()
        for group in [g for g, items in enumerate(tree.members) if len(items) > self._most]:
            if cancelled():
                raise LayoutCancelled
            self._split_group(group, list(tree.members[group]), inside.get(group, []))

    def _edges_by_group(self) -> dict[int, list[tuple[int, int]]]:
        """Group → edges between its members."""
        tree = self._tree
        parent = np.array(tree.parent, np.int64)
        inside: dict[int, list[tuple[int, int]]] = {}
        a, b = np.array(tree.source, np.int64), np.array(tree.target, np.int64)
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
        tree = self._tree
        segments = set(tree.segments.values())
        gone = []
        for group, edges in inside.items():
            members = tree.members[group]
            scopes = [item for item in members if len(tree.members[item]) > 6 and item not in segments]
            if not scopes:
                continue
            number = {item: i for i, item in enumerate(members)}
            near: dict[int, list[int]] = {}
            for a, b in edges:
                near.setdefault(number[a], []).append(number[b])
            in_circles = circular(len(members), near)
            for scope in scopes:
                if number[scope] in in_circles:
                    joined = {x for edge in inside.get(scope, ()) for x in edge}
                    if len(joined) < 0.5 * len(tree.members[scope]):
                        gone.append(scope)
        for scope in sorted(gone, reverse=True):
            home = tree.parent[scope]
            place = tree.members[home].index(scope)
            tree.members[home][place : place + 1] = tree.members[scope]
            for item in tree.members[scope]:
                tree.parent[item] = home
            tree.members[scope], tree.parent[scope] = [], -2
        return bool(gone)

    def _split_group(self, group: int, items: list[int], edges: list[tuple[int, int]], depth: int = 0) -> None:
        """Cuts one group, whose members are `items` with these `edges` among them, and then its parts again."""
        tree = self._tree
        if len(items) <= self._most or depth > 12:
            return
        # The graph's own inputs and outputs stay in sight.
        ends = [item for item in items if not tree.is_group[item] and tree.ops[item] in _ENDS]
        if len(ends) <= 16:
            items = [item for item in items if item not in set(ends)]
            edges = [(a, b) for a, b in edges if a not in set(ends) and b not in set(ends)]
        else:
            ends = []
        sequence = just_in_time(items, edges)
        parts = [(label, part) for label, part in self._parts(group, sequence, edges) if len(part) > 1]
        if len(parts) == 1 and len(parts[0][1]) == len(items):
            return
        grouped = {item for _, part in parts for item in part}
        first = {part[0]: (label, part) for label, part in parts}
        tree.members[group] = [item for item in ends if tree.ops[item] in PLACEHOLDERS]
        made: list[tuple[int, list[int]]] = []
        for item in sequence:
            if item in first:
                label, part = first[item]
                number = tree.add(f"{tree.keys[group]}{label}*/", label, "", group, True)
                tree.made_up.add(number)
                tree.members[number] = part
                for member in part:
                    tree.parent[member] = number
                made.append((number, part))
            elif item not in grouped:
                tree.members[group].append(item)
        tree.members[group] += [item for item in ends if tree.ops[item] not in PLACEHOLDERS]
        by_part: dict[int, list[tuple[int, int]]] = {number: [] for number, _ in made}
        for a, b in edges:
            if tree.parent[a] == tree.parent[b] and tree.parent[a] in by_part:
                by_part[tree.parent[a]].append((a, b))
        for number, part in made:
            self._split_group(number, part, by_part[number], depth + 1)

    def _parts(self, group: int, sequence: list[int], edges: list[tuple[int, int]]) -> list[Part]:
        """Cuts members of a group, which are in just-in-time order, into parts; `edges` are those among them."""
        named = _apart(self._by_name(group, sequence, edges), edges)
        if len(named) <= self._most:
            return named
        # Names were not enough: cut the order in which things happen, whole name groups at a time.
        home: dict[int, int] = {}
        for number, (_, part) in enumerate(named):
            home.update(dict.fromkeys(part, number))
        lifted = list({(home[a], home[b]): None for a, b in edges if home[a] != home[b]})
        order = just_in_time(list(range(len(named))), lifted)
        parts = []
        for chunk in _cut(order, lifted, [self._starts(named[i][1]) for i in order]):
            if len(chunk) == 1:
                parts.append(named[chunk[0]])
            else:
                joined = [named[i] for i in chunk]
                parts.append((self._name_of(joined), [item for _, part in joined for item in part]))
        return parts

    def _starts(self, part: list[int]) -> bool:
        """True if a part may well begin with these items."""
        tree = self._tree
        return tree.is_group[part[0]] or bool(_HEAVY.search(tree.ops[part[0]]))

    def _name_of(self, parts: list[Part]) -> str:
        """A name for a part: what its members' names have in common, else its first and last."""
        tree = self._tree
        labels = [label or tree.labels[part[0]] for label, part in parts]
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

    def _by_name(self, group: int, sequence: list[int], edges: list[tuple[int, int]]) -> list[Part]:
        """Groups by common beginnings of names, where those that share one also lie together in the graph."""
        tree = self._tree
        position = {item: i for i, item in enumerate(sequence)}
        out: dict[int, list[int]] = {}
        for a, b in edges:
            out.setdefault(a, []).append(b)
        tokens = {item: re.findall(r"[^_\-.]+", tree.labels[item]) or [""] for item in sequence}
        around = len(re.findall(r"[^_\-.]+", tree.labels[group])) if group in tree.made_up else 0
        result: list[Part] = []

        def holds(part: list[int]) -> bool:
            """True if the items lie together, with nothing between them."""
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
            """Groups items that have so many tokens of their names in common, by one more."""
            heads: dict[str, list[int]] = {}
            for item in part:
                head = "_".join(tokens[item][: length + 1]) if len(tokens[item]) > length else ""
                heads.setdefault(head or f"\0{item}", []).append(item)
            for head, inner in heads.items():
                if len(inner) == 1:
                    result.append((tree.labels[inner[0]], inner))
                elif len(inner) < len(sequence) * 0.9 and holds(inner):
                    result.append((head, inner))
                elif all(len(tokens[item]) <= length + 1 for item in inner):
                    result.extend((tree.labels[item], [item]) for item in inner)
                else:
                    walk(inner, length + 1)

        walk(sequence, around)
        result.sort(key=lambda entry: position[entry[1][0]])
        return result


def _apart(parts: list[Part], edges: list[tuple[int, int]]) -> list[Part]:
    """Takes groups apart that would wait for one another: A reads from B and B from A."""
    while True:
        home = {item: number for number, (_, part) in enumerate(parts) for item in part}
        near: dict[int, list[int]] = {}
        for a, b in edges:
            if home[a] != home[b]:
                near.setdefault(home[a], []).append(home[b])
        in_circles = {n for n in circular(len(parts), near) if len(parts[n][1]) > 1}
        if not in_circles:
            return parts
        parts = [
            entry
            for number, (label, part) in enumerate(parts)
            for entry in ([("", [item]) for item in part] if number in in_circles else [(label, part)])
        ]


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
