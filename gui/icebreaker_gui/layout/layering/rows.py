"""Rows of boxes and the order within them, before anything has a size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from icebreaker_gui.layout.layering.crossings import order_rows
from icebreaker_gui.layout.layering.ranks import (
    LONGEST,
    connected_parts,
    drawn_edges,
    rank_boxes,
    spine_edges,
    turned_edges,
)

# So many steps are done before it is asked again whether to go on.
_STRIDE = 512
# How much more than others the edges of the longest chains want to be straight.
SPINE = 20.0


@dataclass(frozen=True, eq=False)
class Order:
    """Rows of box and waypoint numbers, left to right; waypoints are numbers from `boxes` on.

    Attributes:
        boxes: Number of boxes.
        rows: The rows of each part that hangs together, the parts in reading order.
        paths: For each edge its way downwards, both boxes included; () for a stub.
        turned: Edges that run upwards, against the rows.
        alone: Boxes without a drawn edge.
        above: Of each box and waypoint, neighbours in the row above: (number, weight, edge), where the edge is -1 if
            it neither begins nor ends there.
        below: The same in the row below.
    """

    boxes: int
    rows: tuple[tuple[tuple[int, ...], ...], ...]
    paths: tuple[tuple[int, ...], ...]
    turned: frozenset[int]
    alone: tuple[int, ...]
    above: tuple[tuple[tuple[int, float, int], ...], ...]
    below: tuple[tuple[tuple[int, float, int], ...], ...]


def arrange(
    count: int,
    edges: Sequence[tuple[int, int]],
    top: frozenset[int] = frozenset(),
    bottom: frozenset[int] = frozenset(),
    check: Callable[[], None] = lambda: None,
    back: frozenset[int] = frozenset(),
) -> Order:
    """Finds rows and orders.

    Args:
        count: Number of boxes.
        edges: (from, to) pairs without repetition or loops; edges of cycles are welcome.
        top: Boxes that belong to the first row: where edges enter from outside.
        bottom: Boxes that belong to the last row.
        check: Called now and then; may raise to stop.
        back: Numbers of the edges that are known to lead back, such as a loop's next iteration.
    """
    turned = turned_edges(count, edges, back)
    check()
    down = [(b, a) if number in turned else (a, b) for number, (a, b) in enumerate(edges)]
    rank = rank_boxes(count, down, top, bottom, check)
    drawn = drawn_edges(down, rank)
    if len(drawn) < len(down):  # without the stubs there may be room to come nearer
        kept = [down[number] for number in drawn]
        rank = rank_boxes(count, kept, top, bottom, check)
        long = {number for number in drawn if rank[down[number][1]] - rank[down[number][0]] > LONGEST}
        drawn = [number for number in drawn if number not in long]
    check()
    threads = _Threads(rank, top, bottom, [down[number] for number in drawn], check)
    paths: list[tuple[int, ...]] = [()] * len(edges)
    for turn, number in enumerate(sorted(drawn, key=lambda n: rank[down[n][1]] - rank[down[n][0]])):
        if not turn % _STRIDE:
            check()
        paths[number] = threads.draw(number, down[number], number in turned)
    check()
    up = [[other for other, _, _ in links] for links in threads.above]
    check()
    dn = [[other for other, _, _ in links] for links in threads.below]
    check()
    parts, alone = connected_parts(len(threads.row_of), up, dn, count, top | bottom)
    rows = tuple(order_rows(part, threads.row_of, up, dn, check) for part in parts)
    check()
    above = tuple(tuple(links) for links in threads.above)
    check()
    below = tuple(tuple(links) for links in threads.below)
    check()
    return Order(count, rows, tuple(paths), frozenset(turned), tuple(alone), above, below)


class _Threads:
    """Edges threaded through the rows between their boxes, with a waypoint in each.

    Edges of one box share their waypoints: a trunk with branches instead of a sheaf.

    Attributes:
        row_of: The row of each box and waypoint.
        above: Of each, neighbours in the row above, as in `Order`.
        below: And in the row below.
    """

    def __init__(
        self,
        rank: list[int],
        top: frozenset[int],
        bottom: frozenset[int],
        down: list[tuple[int, int]],
        check: Callable[[], None],
    ) -> None:
        """Prepares; `down` are all edges that will be drawn, from the upper to the lower box."""
        self._boxes = len(rank)
        self._top, self._bottom = top, bottom
        self._trunks: dict[tuple[int, int], int] = {}
        self._seen: set[tuple[int, int]] = set()
        self.row_of = list(rank)
        self.above: list[list[tuple[int, float, int]]] = [[] for _ in rank]
        self.below: list[list[tuple[int, float, int]]] = [[] for _ in rank]
        self._degree = [0] * len(rank)
        for edge in down:
            for box in edge:
                self._degree[box] += 1
        check()
        self._spine = spine_edges(len(rank), down, rank, top, bottom)
        check()

    def draw(self, number: int, edge: tuple[int, int], turned: bool) -> tuple[int, ...]:
        """Draws one edge, from the upper to the lower box; `turned` if it runs upwards. Returns its way downwards."""
        a, b = edge
        count = self._boxes
        path = (a, *(self._waypoint(b if turned else a, turned, row) for row in self._between(a, b)), b)
        for x, y in pairwise(path):
            if (x, y) not in self._seen:
                self._seen.add((x, y))
                inner = (x >= count) + (y >= count)
                weight = (1.0, 2.0, 8.0)[inner]
                if edge in self._spine:
                    weight = max(weight, SPINE)
                slot = number if x == a or y == b else -1
                # What hangs on one box only goes where that box is, and does not pull it aside.
                hangs_below = y < count and self._degree[y] == 1 and y not in self._bottom
                hangs_above = x < count and self._degree[x] == 1 and x not in self._top
                self.below[x].append((y, 0.02 if hangs_below else weight, slot))
                self.above[y].append((x, 0.02 if hangs_above else weight, slot))
        return path

    def _between(self, a: int, b: int) -> range:
        return range(self.row_of[a] + 1, self.row_of[b])

    def _waypoint(self, root: int, turned: bool, row: int) -> int:
        """The waypoint of a box in a row. An edge that turns has its trunk at the box it comes from, which is below."""
        key = (root * 2 + turned, row)
        point = self._trunks.get(key)
        if point is None:
            point = self._trunks[key] = len(self.row_of)
            self.row_of.append(row)
            self.above.append([])
            self.below.append([])
        return point
