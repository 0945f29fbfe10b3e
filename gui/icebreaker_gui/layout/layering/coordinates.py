"""Coordinates of boxes of given sizes, whose rows and orders are known.

Each row moves towards its neighbours by isotonic regression (Pool Adjacent Violators), in which straight long edges and
the spine of the graph weigh most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from icebreaker_gui.layout.layering.rows import SPINE, Order

ROW_GAP = 30.0
BOX_GAP = 26.0
LINE_GAP = 12.0

# (box, edge) → how far right of the box's middle the edge leaves or enters.
Shift = Callable[[int, int], float]
# A box or waypoint with its neighbours above and below: (number, weight, how far right of them it wants to be).
_Pulls = tuple[int, list[tuple[int, float, float]], list[tuple[int, float, float]]]


class Coordinates(NamedTuple):
    """Where all boxes and waypoints of a level are.

    Attributes:
        x: Their middles across the rows.
        y: Their middles along them.
        spans: For each, top and bottom of its row.
        width: Of all.
        height: Of all.
    """

    x: list[float]
    y: list[float]
    spans: list[tuple[float, float]]
    width: float
    height: float


def place(
    order: Order,
    widths: Sequence[float],
    heights: Sequence[float],
    shift_out: Shift | None = None,
    shift_in: Shift | None = None,
    check: Callable[[], None] = lambda: None,
    row_gap: float = ROW_GAP,
) -> Coordinates:
    """Finds coordinates.

    Args:
        order: What `arrange` found.
        widths: Of each box.
        heights: Of each box; ports have 0.
        shift_out: (box, edge) → how far right of the box's middle the edge leaves; None: 0.
        shift_in: The same for where it enters.
        check: Called now and then; may raise to stop.
        row_gap: Room between two rows.
    """
    total = len(order.above)
    x, y = [0.0] * total, [0.0] * total
    spans = [(0.0, 0.0)] * total
    width_of = [*widths, *([0.0] * (total - order.boxes))]
    height_of = [*heights, *([0.0] * (total - order.boxes))]
    blocks: list[tuple[float, float, list[int]]] = []
    for rows in order.rows:
        check()
        _columns(order, rows, width_of, x, shift_out, shift_in, check)
        top = 0.0
        left = min(x[point] - width_of[point] / 2 for row in rows for point in row)
        right = max(x[point] + width_of[point] / 2 for row in rows for point in row)
        for number, row in enumerate(rows):
            tall = max((height_of[point] for point in row), default=0.0)
            if not number % 16:
                check()
            if number:
                # Many lines between two rows need room to bend.
                reach = max(
                    (abs(x[point] - x[other]) for point in row for other, _, _ in order.above[point]),
                    default=0.0,
                )
                thin = not tall or not any(height_of[point] for point in rows[number - 1])
                top += (row_gap * 0.55 if thin else row_gap) + min(reach * 0.06, 46.0)
            for point in row:
                y[point] = top + tall / 2
                spans[point] = (top, top + tall)
            top += tall
        everything = [point for row in rows for point in row]
        for point in everything:
            x[point] -= left
        blocks.append((right - left, top, everything))
    width, height = _pack(blocks, order.alone, width_of, height_of, x, y, spans)
    return Coordinates(x, y, spans, width, height)


def _columns(
    order: Order,
    rows: tuple[tuple[int, ...], ...],
    width_of: Sequence[float],
    x: list[float],
    shift_out: Shift | None,
    shift_in: Shift | None,
    check: Callable[[], None],
) -> None:
    """Coordinates across the rows: each row moves towards its neighbours as far as its order allows."""
    count = order.boxes
    offsets = []
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        place = 0.0
        places = [0.0]
        for a, b in pairwise(row):
            gap = BOX_GAP if a < count and b < count else LINE_GAP if a >= count and b >= count else 18.0
            place += (width_of[a] + width_of[b]) / 2 + gap
            places.append(place)
        offsets.append(places)
        for point, value in zip(row, places, strict=True):
            x[point] = value - place / 2
    links: list[list[_Pulls]] = []
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        links.append([_pulls(order, point, shift_out, shift_in) for point in row])
    passes = [(1, 0), (0, 1), (1, 0), (0, 1), (1, 0.3), (0.3, 1), (1, 1), (1, 1)]
    if sum(map(len, rows)) > 20000:
        passes = passes[:4] + passes[-1:]
    for number, (use_up, use_down) in enumerate(passes):
        forward = number % 2 == 0
        check()
        for r in range(len(rows)) if forward else range(len(rows) - 1, -1, -1):
            if not r % 16:
                check()
            wanted, weights = [], []
            for (point, ups, downs), offset in zip(links[r], offsets[r], strict=True):
                total = want = 0.0
                if use_up:
                    for other, weight, delta in ups:
                        weight *= use_up
                        total += weight
                        want += weight * (x[other] + delta)
                if use_down:
                    for other, weight, delta in downs:
                        weight *= use_down
                        total += weight
                        want += weight * (x[other] + delta)
                if total:
                    wanted.append(want / total - offset)
                    weights.append(total)
                else:
                    wanted.append(x[point] - offset)
                    weights.append(0.05)
            for (point, _, _), offset, value in zip(links[r], offsets[r], _isotonic(wanted, weights), strict=True):
                x[point] = value + offset
    _straighten(rows, links, offsets, x, count, check)


def _pulls(order: Order, point: int, shift_out: Shift | None, shift_in: Shift | None) -> _Pulls:
    """What pulls at one box or waypoint."""
    count = order.boxes
    ups, downs = [], []
    for other, weight, edge in order.above[point]:
        delta = 0.0
        if edge >= 0 and shift_out and other < count:
            delta += shift_out(other, edge)
        if edge >= 0 and shift_in and point < count:
            delta -= shift_in(point, edge)
        ups.append((other, weight, delta))
    for other, weight, edge in order.below[point]:
        delta = 0.0
        if edge >= 0 and shift_in and other < count:
            delta += shift_in(other, edge)
        if edge >= 0 and shift_out and point < count:
            delta -= shift_out(point, edge)
        downs.append((other, weight, delta))
    return point, ups, downs


def _straighten(
    rows: tuple[tuple[int, ...], ...],
    links: Sequence[Sequence[_Pulls]],
    offsets: Sequence[Sequence[float]],
    x: list[float],
    count: int,
    check: Callable[[], None],
) -> None:
    """Sets runs of main streams and long edges exactly straight, as far as their neighbours leave room."""
    check()
    place = {point: (r, i) for r, row in enumerate(rows) for i, point in enumerate(row)}
    check()
    follow: dict[int, tuple[int, float]] = {}
    led: set[int] = set()
    for number, row in enumerate(links):
        if not number % 16:
            check()
        for point, ups, _ in row:
            for other, weight, delta in ups:
                straight = weight >= SPINE or (point >= count and other >= count)
                if straight and other not in follow and point not in led:
                    follow[other] = (point, delta)
                    led.add(point)
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        for head in row:
            if head in led or head not in follow:
                continue
            chain, shift = [(head, 0.0)], 0.0
            point = head
            while point in follow:
                point, delta = follow[point]
                shift += delta
                chain.append((point, shift))
            first = 0
            while first < len(chain):
                low, high, total = -1e18, 1e18, 0.0
                last = first
                while last < len(chain):
                    point, shift = chain[last]
                    r, i = place[point]
                    near, gaps = rows[r], offsets[r]
                    left = x[near[i - 1]] + gaps[i] - gaps[i - 1] - shift if i else -1e18
                    right = x[near[i + 1]] - gaps[i + 1] + gaps[i] - shift if i + 1 < len(near) else 1e18
                    if max(low, left) > min(high, right):
                        break
                    low, high = max(low, left), min(high, right)
                    total += x[point] - shift
                    last += 1
                if last == first:
                    first += 1
                    continue
                target = min(max(total / (last - first), low), high)
                for point, shift in chain[first:last]:
                    x[point] = target + shift
                first = last


def _isotonic(values: list[float], weights: list[float]) -> list[float]:
    """The rising sequence nearest to `values` in weighted least squares (Pool Adjacent Violators)."""
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for mean, mass in zip(values, weights, strict=True):
        size = 1
        while means and means[-1] > mean:
            other = masses.pop()
            mean = (means.pop() * other + mean * mass) / (other + mass)
            mass += other
            size += sizes.pop()
        means.append(mean)
        masses.append(mass)
        sizes.append(size)
    if len(means) == len(values):
        return means
    return [mean for mean, size in zip(means, sizes, strict=True) for _ in range(size)]


def _pack(
    blocks: list[tuple[float, float, list[int]]],
    alone: Sequence[int],
    width_of: Sequence[float],
    height_of: Sequence[float],
    x: list[float],
    y: list[float],
    spans: list[tuple[float, float]],
) -> tuple[float, float]:
    """Sets separate parts side by side in shelves, the first (the one with ports) at the top left."""
    for point in alone:
        x[point], y[point] = width_of[point] / 2, height_of[point] / 2
        spans[point] = (0.0, height_of[point])
        blocks.append((width_of[point], height_of[point], [point]))
    if not blocks:
        return 0.0, 0.0
    area = sum((w + BOX_GAP) * (h + BOX_GAP) for w, h, _ in blocks)
    widest = max(blocks[0][0] + (300.0 if len(blocks) > 1 else 0.0), max(w for w, _, _ in blocks), (area * 1.3) ** 0.5)
    # The shelf beside a tall first block is filled from its top.
    left = top = tall = reach = 0.0
    first_width, first_height, _ = blocks[0]
    rest = sorted(blocks[1:], key=lambda block: -block[1]) if len(blocks) > 1 else []
    for number, (w, h, items) in enumerate([blocks[0], *rest]):
        indent = first_width + 2 * BOX_GAP if number and top < first_height and first_height > 3 * h else 0.0
        if number == 0:
            left, tall = w + 2 * BOX_GAP, 0.0 if rest and first_height > 3 * rest[0][1] else h
            reach = w
            continue
        if left + w > widest and left > indent:
            top += tall + BOX_GAP
            left = first_width + 2 * BOX_GAP if top < first_height else 0.0
            tall = 0.0
        for point in items:
            x[point] += left
            y[point] += top
            spans[point] = (spans[point][0] + top, spans[point][1] + top)
        left += w + BOX_GAP
        tall = max(tall, h)
        reach = max(reach, left - BOX_GAP)
    return reach, max(top + tall, first_height)
