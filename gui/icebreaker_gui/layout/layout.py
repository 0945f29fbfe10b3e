"""Lays out an outline with some of its groups open.

A group's inside is laid out apart, with a port on its border for every value that crosses it, so that an edge goes on
inside to the box that really reads it. Orders are kept per group and are free of sizes; opening a group lays out that
group and finds new coordinates up to the root. Everything is laid out from top to bottom; from left to right it is the
same with both axes exchanged, but for the titles and the room that words on edges need.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from icebreaker_gui.layout.inside import Group, Inside, Stub, lay_out
from icebreaker_gui.layout.outline import Cancelled, LayoutCancelled, Outline
from icebreaker_gui.layout.scene import Scene
from icebreaker_gui.layout.sizes import estimated_size
from icebreaker_gui.layout.wiring import Wiring, wire


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
        self._wirings: dict[int, Wiring] = {}
        self._insides: dict[int, tuple[frozenset[int], Inside]] = {}
        self._sizes: dict[int, tuple[float, float]] = {}

    def turned(self) -> Layout:
        """The same outline the other way, from left to right or from top to bottom; the orders are shared."""
        other = Layout(self.outline, self._size, not self.sideways)
        other._wirings, other._sizes = self._wirings, self._sizes
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
        insides: dict[int, Inside] = {}
        for group in reversed(visible):  # inner groups first: their sizes are needed
            check()
            mine = frozenset({group}).union(*(below[m] for m in outline.members[group] if m in below))
            below[group] = mine
            kept = self._insides.get(group)
            if kept is None or kept[0] != mine:
                kept = (mine, self._lay_out(group, insides, check))
                self._insides[group] = kept
            insides[group] = kept[1]
        pieces = _Pieces(self, insides)
        pieces.gather(check)
        check()
        return pieces.scene()

    def size(self, item: int) -> tuple[float, float]:
        """Width and height of a leaf or closed group."""
        size = self._sizes.get(item)
        if size is None:
            size = self._sizes[item] = self._size(self.outline, item)
        return size

    def extent(self, item: int) -> tuple[float, float]:
        """Size of a leaf or closed group across and along the way that edges go."""
        width, height = self.size(item)
        return (height, width) if self.sideways else (width, height)

    def _lay_out(self, group: int, insides: dict[int, Inside], check: Callable[[], None]) -> Inside:
        """Lays out one open group; `insides` has the open groups in it."""
        outline = self.outline
        level = outline.level(group, check)
        check()
        if group not in self._wirings:
            self._wirings[group] = wire(level, outline.ops, check)
        wiring = self._wirings[group]
        label = outline.labels[group]
        return lay_out(Group(group, level, label, wiring, insides, self.extent, self.sideways), check)


class _Pieces:
    """All that is shown, gathered group by group and then made into arrays."""

    def __init__(self, layout: Layout, insides: dict[int, Inside]) -> None:
        self._layout, self._insides = layout, insides
        self._items: list[int] = []
        self._boxes: list[tuple[float, float, float, float]] = []
        self._nesting: list[int] = []
        self._is_open: list[bool] = []
        self._points: list[np.ndarray] = []
        self._starts = [0]
        self._edges: list[tuple[int, int, int, int]] = []  # kind, from, to, group
        self._producers: list[tuple[int, ...]] = []
        self._stubs: list[Stub] = []

    def gather(self, check: Callable[[], None]) -> None:
        """Takes all open groups, outer ones first, and in the order in which they are read."""
        stack = [(0, 0.0, 0.0, 0)]
        while stack:
            check()
            group, x, y, depth = stack.pop()
            inner = self._add_members(group, x, y, depth)
            stack.extend((member, px, py, depth + 1) for member, px, py in reversed(inner))
            self._add_edges(group, x, y)

    def _add_members(self, group: int, x: float, y: float, depth: int) -> list[tuple[int, float, float]]:
        """Adds the members of a group at x, y; returns those that are open groups, with their places."""
        outline = self._layout.outline
        opened = []
        for member, (px, py) in zip(outline.members[group], self._insides[group].places, strict=True):
            inside = self._insides.get(member)
            width, height = (inside.width, inside.height) if inside else self._layout.extent(member)
            self._items.append(member)
            self._boxes.append((x + px, y + py, width, height))
            self._nesting.append(depth)
            self._is_open.append(inside is not None)
            if inside:
                opened.append((member, x + px, y + py))
        return opened

    def _add_edges(self, group: int, x: float, y: float) -> None:
        inside = self._insides[group]
        flat: list[tuple[float, float]] = []
        for start, end, kind, path, carried in inside.edges:
            flat.extend(path)
            self._starts.append(self._starts[-1] + len(path))
            self._edges.append((kind, start, end, group))
            self._producers.append(carried)
        if flat:
            self._points.append(np.array(flat, np.float64) + np.array((x, y)))
        self._stubs.extend((p, reader, x + sx, y + sy, at) for p, reader, sx, sy, at in inside.stubs)

    def scene(self) -> Scene:
        """What was gathered, as a scene."""
        edges = np.array(self._edges, np.int32).reshape(-1, 4)
        arrays = {
            "items": np.array(self._items, np.int32),
            "boxes": np.array(self._boxes, np.float64).reshape(-1, 4),
            "nesting": np.array(self._nesting, np.int16),
            "is_open": np.array(self._is_open, bool),
            "points": np.concatenate(self._points) if self._points else np.zeros((0, 2)),
            "starts": np.array(self._starts, np.int64),
            "edge_kind": edges[:, 0].astype(np.uint8),
            "edge_from": edges[:, 1].copy(),
            "edge_to": edges[:, 2].copy(),
            "edge_in": edges[:, 3].copy(),
        }
        stubs, size = self._stubs, (self._insides[0].width, self._insides[0].height)
        sideways = self._layout.sideways
        if sideways:
            arrays["boxes"] = np.ascontiguousarray(arrays["boxes"][:, [1, 0, 3, 2]])
            arrays["points"] = np.ascontiguousarray(arrays["points"][:, ::-1])
            stubs = [(producer, reader, sy, sx, at) for producer, reader, sx, sy, at in stubs]
            size = size[1], size[0]
        for array in arrays.values():
            array.setflags(write=False)
        return Scene(
            outline=self._layout.outline,
            opened=frozenset(self._insides),
            producers=tuple(self._producers),
            stubs=tuple(stubs),
            size=size,
            sideways=sideways,
            **arrays,
        )
