"""Where everything is: open groups with their members inside, as frozen arrays for whoever draws.

A group's inside is laid out apart, with a port on its border for every value that crosses it, so that an edge goes on
inside to the box that really reads it. Orders are kept per group and are free of sizes; opening a group lays out that
group and finds new coordinates up to the root. Everything is laid out from top to bottom; from left to right it is the
same with both axes exchanged, but for the titles and the room that words on edges need.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from icebreaker.graph.ops import PASSIVE
from icebreaker_gui.layout import layers
from icebreaker_gui.layout.outline import Cancelled, LayoutCancelled, Outline

# Sizes of boxes in scene units: pixels at 100 %.
LEAF_HEIGHT = 38.0
GROUP_HEIGHT = 48.0
TITLE = 28.0
MARGIN = 14.0
_SIDEWAYS_GAP = 66.0  # between columns: shapes are written along the edges there
_MOST_PORTS = 24
_NEXT = frozenset({"NextIteration", "RefNextIteration"})

DATA, CONTROL, BACK = 0, 1, 2

_generations = itertools.count(1)


@dataclass(frozen=True, eq=False)
class Scene:
    """Positions of what is shown. Arrays are not to be written to.

    Attributes:
        outline: What is laid out.
        opened: The open groups.
        items: Outline items, groups before their members, [n].
        boxes: x, y, width, height of each, in scene units, [n, 4].
        nesting: Number of open groups around each, [n].
        is_open: True for open groups, [n].
        points: Corner points of all edges, one after the other, [m, 2]. Between two points of different x an edge
            bends with vertical ends; where it is `sideways`, between two of different y with horizontal ends.
        starts: Where each edge's points begin, and the end, [k + 1].
        edge_kind: DATA, CONTROL or BACK (upwards), [k].
        edge_from, edge_to: Outline items at the ends; where an edge only crosses a border, the group, [k].
        edge_in: The open group whose inside each edge is drawn in, [k].
        producers: Outline leaves whose values each edge carries.
        stubs: (producer leaf or item, reader item, x, y, is_reader) of edges drawn as stubs: at the reader's top, or
            at the producer's bottom, where the reader is -1 and x, y stand for all of them.
        size: Width and height.
        sideways: From left to right instead of from top to bottom.
        generation: Rises with every scene made, so that a late one can be told and dropped.
    """

    outline: Outline
    opened: frozenset[int]
    items: np.ndarray
    boxes: np.ndarray
    nesting: np.ndarray
    is_open: np.ndarray
    points: np.ndarray
    starts: np.ndarray
    edge_kind: np.ndarray
    edge_from: np.ndarray
    edge_to: np.ndarray
    edge_in: np.ndarray
    producers: tuple[tuple[int, ...], ...]
    stubs: tuple[tuple[int, int, float, float, bool], ...]
    size: tuple[float, float]
    sideways: bool = False
    generation: int = field(default_factory=lambda: next(_generations))

    def row(self, item: int) -> int:
        """The row of an item in `items`, or of the innermost group around it that is shown; -1 without one."""
        rows = self._rows()
        outline = self.outline
        while item >= 0:
            if item in rows:
                return rows[item]
            item = int(outline.parent[item])
        return -1

    def _rows(self) -> dict[int, int]:
        found = self.__dict__.get("_row_of")
        if found is None:
            found = {int(item): row for row, item in enumerate(self.items.tolist())}
            object.__setattr__(self, "_row_of", found)
        return found

    def box(self, item: int) -> tuple[float, float, float, float] | None:
        """x, y, width, height of an item that is shown."""
        row = self._rows().get(item)
        return None if row is None else tuple(self.boxes[row].tolist())


@dataclass(eq=False)
class _Inside:
    """One open group, laid out from top to bottom with the origin at its own top left corner."""

    width: float
    height: float
    places: list[tuple[float, float]]  # top left corner of each member
    ports_in: dict[int, float]  # producer → x on the upper border
    ports_out: dict[int, float]
    edges: list[tuple[int, int, int, list[tuple[float, float]], tuple[int, ...]]]
    stubs: list[tuple[int, int, float, float, bool]]


class Layout:
    """Lays out one outline again and again, for whatever groups are open."""

    def __init__(
        self,
        outline: Outline,
        sizes: Callable[[Outline, int], tuple[float, float]] | None = None,
        sideways: bool = False,
    ) -> None:
        """`sizes` gives width and height of a leaf or closed group; None: estimated from its words."""
        self.outline = outline
        self.sideways = sideways
        self._size = sizes or estimated_size
        self._orders: dict[int, tuple] = {}
        self._insides: dict[int, tuple[frozenset[int], _Inside]] = {}
        self._sizes: dict[int, tuple[float, float]] = {}

    def turned(self) -> Layout:
        """The same outline the other way, from left to right or from top to bottom; the orders are shared."""
        other = Layout(self.outline, self._size, not self.sideways)
        other._orders, other._sizes = self._orders, self._sizes
        return other

    def scene(self, opened: frozenset[int], cancelled: Cancelled = lambda: False) -> Scene:
        """Lays out with these groups open; a group within a closed one does not count.

        Raises:
            LayoutCancelled: `cancelled` became true.
        """

        def check() -> None:
            if cancelled():
                raise LayoutCancelled

        outline = self.outline
        opened = frozenset(opened) | {0}
        visible = []
        stack = [0]
        while stack:
            group = stack.pop()
            visible.append(group)
            stack.extend(member for member in reversed(outline.members[group]) if member in opened)
        below: dict[int, frozenset[int]] = {}
        insides: dict[int, _Inside] = {}
        for group in reversed(visible):  # inner groups first: their sizes are needed
            check()
            mine = frozenset({group}).union(*(below[m] for m in outline.members[group] if m in below))
            below[group] = mine
            kept = self._insides.get(group)
            if kept is None or kept[0] != mine:
                kept = (mine, self._lay_out(group, insides, check))
                self._insides[group] = kept
            insides[group] = kept[1]
        return self._compose(opened, insides, below[0], check)

    def size(self, item: int) -> tuple[float, float]:
        """Width and height of a leaf or closed group."""
        found = self._sizes.get(item)
        if found is None:
            found = self._sizes[item] = self._size(self.outline, item)
        return found

    def _extent(self, item: int) -> tuple[float, float]:
        """Across and along the way that edges go."""
        width, height = self.size(item)
        return (height, width) if self.sideways else (width, height)

    def _order(self, group: int, check: Callable[[], None]) -> tuple:
        if group in self._orders:
            return self._orders[group]
        level = self.outline.level(group, check)
        check()
        members = level.members
        number = {member: i for i, member in enumerate(members)}
        edges: list[tuple[int, int]] = []
        ends: list[tuple[str, int, int, tuple[int, ...]]] = []
        check()
        for (a, b), producers in level.edges.items():
            edges.append((number[a], number[b]))
            ends.append(("inner", a, b, producers))
        count = len(members)
        # Values that go to the same members share a port.
        bundles: dict[tuple[int, ...], list[int]] = {}
        for producer, readers in level.entering.items():
            bundles.setdefault(readers, []).append(producer)
        ports_in = sorted(bundles.items(), key=lambda entry: entry[1][0])
        outward: dict[int, list[int]] = {}
        for producer, member in level.leaving.items():
            outward.setdefault(member, []).append(producer)
        top, bottom, port_in, port_out = [], [], {}, {}
        for readers, producers in ports_in:
            if len(ports_in) > _MOST_PORTS and top:
                port = top[0]  # too many to tell apart: all enter in one place
            else:
                port = count
                count += 1
                top.append(port)
            port_in.update(dict.fromkeys(producers, port))
            for reader in readers:
                edges.append((port, number[reader]))
                ends.append(("in", producers[0], reader, tuple(producers)))
        for member, producers in sorted(outward.items()):
            if len(outward) > _MOST_PORTS and bottom:
                port = bottom[0]
            else:
                port = count
                count += 1
                bottom.append(port)
            port_out.update(dict.fromkeys(producers, port))
            edges.append((number[member], port))
            ends.append(("out", member, producers[0], tuple(producers)))
        check()
        unique: dict[tuple[int, int], int] = {}
        for edge in edges:
            unique.setdefault(edge, len(unique))
        ops = self.outline.ops
        back = frozenset(
            unique[edge]
            for edge, (kind, _, _, producers) in zip(edges, ends, strict=True)
            if kind == "inner" and all(ops[producer] in _NEXT for producer in producers)
        )
        order = layers.arrange(count, list(unique), frozenset(top), frozenset(bottom), check, back)
        result = (order, [unique[edge] for edge in edges], ends, port_in, port_out, number)
        self._orders[group] = result
        return result

    def _lay_out(self, group: int, insides: dict[int, _Inside], check: Callable[[], None]) -> _Inside:
        order, slots, ends, port_in, port_out, number = self._order(group, check)
        members = self.outline.members[group]
        widths, heights = [], []
        for member in members:
            inside = insides.get(member)
            width, height = (inside.width, inside.height) if inside else self._extent(member)
            widths.append(width)
            heights.append(height)
        ports = order.boxes - len(members)
        widths += [10.0] * ports
        heights += [0.0] * ports
        leaves: dict[tuple[int, int], float] = {}
        enters: dict[tuple[int, int], float] = {}
        check()
        for slot, (kind, a, b, producers) in zip(slots, ends, strict=True):
            source, target = (a, b) if kind != "in" else (-1, b)
            if kind == "out":
                target = -1
            if source in insides:
                places = [insides[source].ports_out[p] for p in producers if p in insides[source].ports_out]
                if places:
                    middle = sum(places) / len(places) - insides[source].width / 2
                    leaves[number[source], slot] = _soft(middle)
            if target in insides:
                places = [insides[target].ports_in[p] for p in producers if p in insides[target].ports_in]
                if places:
                    middle = sum(places) / len(places) - insides[target].width / 2
                    enters[number[target], slot] = _soft(middle)
        x, y, spans, width, height = layers.place(
            order, widths, heights,
            (lambda box, edge: leaves.get((box, edge), 0.0)) if leaves else None,
            (lambda box, edge: enters.get((box, edge), 0.0)) if enters else None,
            check,
            _SIDEWAYS_GAP if self.sideways else layers.ROW_GAP,
        )  # fmt: skip
        root = group == 0
        title = 0.0 if root else min(340.0, 7.2 * len(self.outline.labels[group]) + 90.0)
        if self.sideways:  # the title lies beside the way that edges go
            left = MARGIN if root else TITLE + 4.0
            full = left + width + MARGIN
            above = MARGIN if root else 18.0
            above += max(0.0, title - 2 * above - height) / 2
            below = above
        else:
            full = max(width + 2 * MARGIN, title)
            left = (full - width) / 2
            above = MARGIN if root else TITLE + (6.0 if port_in else 10.0)
            below = MARGIN if root or not port_out else 10.0
        tall = above + height + below
        bottom = tall
        upper = 0.0 if not root else above
        places = [(left + x[i] - widths[i] / 2, above + y[i] - heights[i] / 2) for i in range(len(members))]
        result = _Inside(
            full, tall, places,
            {producer: left + x[port] for producer, port in port_in.items()},
            {producer: left + x[port] for producer, port in port_out.items()},
            [], [],
        )  # fmt: skip
        self._edges(
            group, result, order, slots, ends, number, insides, (x, y, spans), (left, above, upper, bottom), check
        )
        return result

    def _edges(self, group, result, order, slots, ends, number, insides, coordinates, frame, check) -> None:
        outline = self.outline
        level = outline.level(group)
        x, _, spans = coordinates
        left, above, upper, bottom = frame
        places = result.places
        silent: dict[int, list[int]] = {}

        def base(member: int, producer: int) -> tuple[float, float]:
            px, py = places[number[member]]
            inside = insides.get(member)
            if inside:
                return px + inside.ports_out.get(producer, inside.width / 2), py + inside.height
            width, height = self._extent(member)
            return px + width / 2, py + height

        def head(member: int, producer: int) -> tuple[float, float]:
            px, py = places[number[member]]
            inside = insides.get(member)
            if inside:
                return px + inside.ports_in.get(producer, inside.width / 2), py
            return px + self._extent(member)[0] / 2, py

        for turn, (slot, (kind, a, b, producers)) in enumerate(zip(slots, ends, strict=True)):
            if not turn % 512:
                check()
            path = order.paths[slot]
            if not path:
                reader = b if kind != "out" else -1
                if reader >= 0:
                    for producer in producers:
                        result.stubs.append((producer, reader, *head(reader, producer), True))
                if kind != "in":
                    silent.setdefault(a, []).append(producers[0])
                continue
            turned = slot in order.turned
            middle: list[tuple[float, float]] = []
            for point in path[1:-1]:
                high, low = spans[point]
                px = left + x[point]
                middle.append((px, above + high))
                if low > high:
                    middle.append((px, above + low))
            edge_kind = BACK if turned else CONTROL if kind == "inner" and (a, b) in level.control else DATA
            if turned:
                middle.reverse()
            told: dict[tuple, list[int]] = {}
            for producer in producers:
                first = (result.ports_in[producer], upper) if kind == "in" else base(a, producer)
                last = (result.ports_out[producer], bottom) if kind == "out" else head(b, producer)
                told.setdefault((first, last), []).append(producer)
            for (first, last), carried in told.items():
                points = [first, *middle, last]
                if turned:
                    points = _around(first, middle, last)
                else:
                    # Straight down past taller neighbours in the row before it bends, lest it run over them.
                    low, high = above + spans[path[0]][1], above + spans[path[-1]][0]
                    if last[1] > high + 4:
                        points.insert(-1, (last[0], high))
                    if low > first[1] + 4:
                        points.insert(1, (first[0], low))
                result.edges.append(
                    (
                        group if kind == "in" else a,
                        group if kind == "out" else b,
                        edge_kind,
                        points,
                        tuple(carried),
                    )
                )
        check()
        for producer, readers in level.stubs.items():
            for reader in readers:
                if reader not in insides:  # an open group tells it inside
                    hx, hy = head(reader, producer)
                    result.stubs.append((producer, reader, hx, hy, True))
            if producer in number:
                silent.setdefault(producer, []).append(producer)
        for member, producers in silent.items():
            bx, by = base(member, producers[0])
            result.stubs.append((producers[0], -1, bx, by, False))

    def _compose(
        self, opened: frozenset[int], insides: dict[int, _Inside], shown: frozenset[int], check: Callable[[], None]
    ) -> Scene:
        outline = self.outline
        items: list[int] = []
        boxes: list[tuple[float, float, float, float]] = []
        nesting: list[int] = []
        is_open: list[bool] = []
        points: list[np.ndarray] = []
        starts = [0]
        kinds: list[int] = []
        froms: list[int] = []
        tos: list[int] = []
        homes: list[int] = []
        producers: list[tuple[int, ...]] = []
        stubs: list[tuple[int, int, float, float, bool]] = []
        stack = [(0, 0.0, 0.0, 0)]
        total = 0
        while stack:
            check()
            group, gx, gy, depth = stack.pop()
            inside = insides[group]
            later = []
            for member, (px, py) in zip(outline.members[group], inside.places, strict=True):
                inner = insides.get(member)
                width, height = (inner.width, inner.height) if inner else self._extent(member)
                items.append(member)
                boxes.append((gx + px, gy + py, width, height))
                nesting.append(depth)
                is_open.append(inner is not None)
                if inner:
                    later.append((member, gx + px, gy + py, depth + 1))
            stack.extend(reversed(later))
            flat: list[tuple[float, float]] = []
            for a, b, kind, path, carried in inside.edges:
                flat.extend(path)
                total += len(path)
                starts.append(total)
                kinds.append(kind)
                froms.append(a)
                tos.append(b)
                homes.append(group)
                producers.append(carried)
            if flat:
                points.append(np.array(flat, np.float64) + np.array((gx, gy)))
            stubs.extend((p, reader, gx + sx, gy + sy, at) for p, reader, sx, sy, at in inside.stubs)
        check()
        arrays = {
            "items": np.array(items, np.int32),
            "boxes": np.array(boxes, np.float64).reshape(-1, 4),
            "nesting": np.array(nesting, np.int16),
            "is_open": np.array(is_open, bool),
            "points": np.concatenate(points) if points else np.zeros((0, 2)),
            "starts": np.array(starts, np.int64),
            "edge_kind": np.array(kinds, np.uint8),
            "edge_from": np.array(froms, np.int32),
            "edge_to": np.array(tos, np.int32),
            "edge_in": np.array(homes, np.int32),
        }
        size = insides[0].width, insides[0].height
        if self.sideways:
            arrays["boxes"] = np.ascontiguousarray(arrays["boxes"][:, [1, 0, 3, 2]])
            arrays["points"] = np.ascontiguousarray(arrays["points"][:, ::-1])
            stubs = [(producer, reader, sy, sx, at) for producer, reader, sx, sy, at in stubs]
            size = size[1], size[0]
        for array in arrays.values():
            array.setflags(write=False)
        return Scene(
            outline=outline,
            opened=shown,
            producers=tuple(producers),
            stubs=tuple(stubs),
            size=size,
            sideways=self.sideways,
            **arrays,
        )


def _soft(offset: float) -> float:
    """How far a box may be moved so that an edge to its port is straight.

    All the way for ports near the middle; a column of wide groups with ports far out would wander off sideways.
    """
    far = abs(offset)
    return offset if far < 60 else (60 + (far - 60) * 0.2) * (1 if offset > 0 else -1)


def _around(
    first: tuple[float, float], middle: list[tuple[float, float]], last: tuple[float, float]
) -> list[tuple[float, float]]:
    """A way upwards: out at the bottom, aside, up, and in at the top."""
    if not middle:
        side = max(first[0], last[0]) + 110.0
        return [first, (side, first[1] + 12.0), (side, last[1] - 12.0), last]
    side, end = middle[0][0], middle[-1][0]
    return [first, (side, first[1] + 10.0), *middle, (end, last[1] - 10.0), last]


def estimated_size(outline: Outline, item: int) -> tuple[float, float]:
    """Width and height of a leaf or closed group from the length of its words, without a font."""
    label = outline.labels[item]
    if item in outline.segments.values():
        return 224.0, 84.0
    if outline.members[item]:
        return min(230.0, max(160.0, 7.4 * len(label) + 44.0)), GROUP_HEIGHT
    op = outline.ops[item]
    if op in PASSIVE:  # inputs and outputs are told by their names
        return min(220.0, max(96.0, 8.2 * max(len(label), len(op) * 0.8) + 38.0)), LEAF_HEIGHT
    badge = 22.0 if item in outline.folded else 0.0
    return min(200.0, max(92.0, 7.8 * len(op) + 34.0 + badge, min(5.6 * len(label), 120.0) + 30.0 + badge)), LEAF_HEIGHT
