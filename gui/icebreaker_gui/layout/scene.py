"""Where everything is: open groups with their members inside, as frozen arrays for whoever draws."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from icebreaker_gui.layout.outline import Outline

# Kinds of edges: a value, an order of execution, a value that runs upwards.
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
        rows = self.__dict__.get("_row_of")
        if rows is None:
            rows = {int(item): row for row, item in enumerate(self.items.tolist())}
            object.__setattr__(self, "_row_of", rows)
        return rows

    def box(self, item: int) -> tuple[float, float, float, float] | None:
        """x, y, width, height of an item that is shown."""
        row = self._rows().get(item)
        return None if row is None else tuple(self.boxes[row].tolist())
