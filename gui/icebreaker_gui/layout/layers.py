"""Layered drawing of one level: boxes in rows, edges downwards.

Two steps, so that opening a group repeats only the second: `arrange` finds rows and the order within them and knows no
sizes; `place` gives coordinates to boxes of given sizes. The method is Sugiyama's: break cycles, rank, thread long
edges through the rows, reduce crossings by median sweeps, then find coordinates by isotonic regression (Pool Adjacent
Violators) of each row towards its neighbours, in which straight long edges and the spine of the graph weigh most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# An edge over more rows than this, and all but the nearest edge of a box with more readers than that, is a stub.
LONGEST = 60
MOST_READERS = 16
# So many steps are done before it is asked again whether to go on.
_STRIDE = 512

# How much more than others the edges of the longest chains want to be straight.
SPINE = 20.0

ROW_GAP = 30.0
BOX_GAP = 26.0
LINE_GAP = 12.0


@dataclass(frozen=True, eq=False)
class Order:
    """Rows of box and waypoint numbers, left to right; waypoints are numbers from `boxes` on.

    Attributes:
        boxes: Number of boxes.
        rows: The rows of each part that hangs together, the parts in reading order.
        paths: For each edge its way downwards, both boxes included; () for a stub.
        turned: Edges that run upwards, against the rows.
        alone: Boxes without a drawn edge.
        links: Of each box and waypoint, neighbours above and below: (number, weight).
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
    turned = _turned(count, edges, back)
    check()
    down = [(b, a) if number in turned else (a, b) for number, (a, b) in enumerate(edges)]
    rank = _rank(count, down, top, bottom, check)
    drawn = _drawn(down, rank, top, bottom)
    if len(drawn) < len(down):  # without the stubs there may be room to come nearer
        kept = [down[number] for number in drawn]
        rank = _rank(count, kept, top, bottom, check)
        long = {number for number in drawn if rank[down[number][1]] - rank[down[number][0]] > LONGEST}
        drawn = [number for number in drawn if number not in long]
    check()
    # Edges of one box share their waypoints: a trunk with branches instead of a sheaf.
    total = count
    trunks: dict[tuple[int, int], int] = {}
    paths: list[tuple[int, ...]] = [()] * len(edges)
    row_of = list(rank)
    seen: set[tuple[int, int]] = set()
    above: list[list[tuple[int, float, int]]] = [[] for _ in range(count)]
    below: list[list[tuple[int, float, int]]] = [[] for _ in range(count)]
    degree = [0] * count
    for number in drawn:
        for box in down[number]:
            degree[box] += 1
    check()
    spine = _spine(count, [down[number] for number in drawn], rank, top, bottom)
    check()
    for turn, number in enumerate(sorted(drawn, key=lambda n: rank[down[n][1]] - rank[down[n][0]])):
        if not turn % _STRIDE:
            check()
        a, b = down[number]
        path = [a]
        # An edge that turns has its trunk at the box it comes from, which is below.
        root, step = (b, -1) if number in turned else (a, 1)
        middle = []
        for row in range(rank[a] + 1, rank[b]):
            key = (root * 2 + (step < 0), row)
            point = trunks.get(key)
            if point is None:
                point = trunks[key] = total
                total += 1
                row_of.append(row)
                above.append([])
                below.append([])
            middle.append(point)
        path += [*middle, b]
        paths[number] = tuple(path)
        for x, y in pairwise(path):
            if (x, y) not in seen:
                seen.add((x, y))
                inner = (x >= count) + (y >= count)
                weight = (1.0, 2.0, 8.0)[inner]
                if (a, b) in spine:
                    weight = max(weight, SPINE)
                slot = number if x == a or y == b else -1
                # What hangs on one box only goes where that box is, and does not pull it aside.
                below[x].append((y, 0.02 if y < count and degree[y] == 1 and y not in bottom else weight, slot))
                above[y].append((x, 0.02 if x < count and degree[x] == 1 and x not in top else weight, slot))
    check()
    up = [[other for other, _, _ in links] for links in above]
    check()
    dn = [[other for other, _, _ in links] for links in below]
    check()
    parts, alone = _parts(total, up, dn, count, top | bottom)
    rows = tuple(_order(part, row_of, up, dn, check) for part in parts)
    check()
    frozen_above = tuple(tuple(links) for links in above)
    check()
    frozen_below = tuple(tuple(links) for links in below)
    check()
    return Order(count, rows, tuple(paths), frozenset(turned), tuple(alone), frozen_above, frozen_below)


def _turned(count: int, edges: Sequence[tuple[int, int]], back: frozenset[int]) -> set[int]:
    """Edges that close a cycle on a depth-first walk from the sources, and those known to lead back."""
    out: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    reads = [0] * count
    for number, (a, b) in enumerate(edges):
        if number in back:
            out[b].append((a, number))
            reads[a] += 1
        else:
            out[a].append((b, number))
            reads[b] += 1
    state = [0] * count
    turned = set(back)
    for root in sorted(range(count), key=lambda box: reads[box] > 0):
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(out[root]))]
        while stack:
            box, rest = stack[-1]
            for other, number in rest:
                if state[other] == 1:
                    turned ^= {number}
                elif not state[other]:
                    state[other] = 1
                    stack.append((other, iter(out[other])))
                    break
            else:
                state[box] = 2
                stack.pop()
    return turned


def _rank(
    count: int,
    down: Sequence[tuple[int, int]],
    top: frozenset[int],
    bottom: frozenset[int],
    check: Callable[[], None],
) -> list[int]:
    """Rows by longest path, then every box moves to where its edges are shortest."""
    ins: list[list[int]] = [[] for _ in range(count)]
    outs: list[list[int]] = [[] for _ in range(count)]
    for a, b in down:
        ins[b].append(a)
        outs[a].append(b)
    waiting = [len(items) for items in ins]
    ready = [box for box in range(count) if not waiting[box]]
    order = []
    rank = [0 if not top or box in top else 1 for box in range(count)]
    while ready:
        box = ready.pop()
        order.append(box)
        for other in outs[box]:
            rank[other] = max(rank[other], rank[box] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for _ in range(6):
        check()
        moved = False
        for box in reversed(order):
            if outs[box] and len(outs[box]) > sum(item not in top for item in ins[box]) and box not in top:
                best = min(rank[other] for other in outs[box]) - 1
                if best > rank[box]:
                    rank[box] = best
                    moved = True
        for box in order:
            if ins[box] and len(ins[box]) > len(outs[box]) and box not in bottom:
                best = max(rank[other] for other in ins[box]) + 1
                if best < rank[box]:
                    rank[box] = best
                    moved = True
        if not moved:
            break
    if bottom:
        last = 1 + max((rank[box] for box in range(count) if box not in bottom), default=0)
        rank = [last if box in bottom else value for box, value in enumerate(rank)]
    return rank


def _drawn(down: Sequence[tuple[int, int]], rank: list[int], top: frozenset[int], bottom: frozenset[int]) -> list[int]:
    """Numbers of the edges that are drawn as lines; the others are stubs."""
    fans: dict[int, list[int]] = {}
    for number, (a, _) in enumerate(down):
        fans.setdefault(a, []).append(number)
    drawn = []
    for numbers in fans.values():
        if len(numbers) > MOST_READERS:
            numbers = [min(numbers, key=lambda n: (rank[down[n][1]], n))]
        drawn.extend(n for n in numbers if rank[down[n][1]] - rank[down[n][0]] <= LONGEST)
    return sorted(drawn)


def _spine(
    count: int, down: Sequence[tuple[int, int]], rank: list[int], top: frozenset[int], bottom: frozenset[int]
) -> set[tuple[int, int]]:
    """Edges of the main streams: to the reader from which the most follows, if it comes after the most."""
    # What crosses the border is part of something longer.
    before = [1000 if box in top else 0 for box in range(count)]
    after = [1000 if box in bottom else 0 for box in range(count)]
    follow, lead = [-1] * count, [-1] * count
    ordered = sorted(down, key=lambda edge: (rank[edge[0]], edge))
    for a, b in ordered:
        if lead[b] < 0 or before[a] + 1 > before[b]:
            before[b], lead[b] = max(before[b], before[a] + 1), a
    for a, b in reversed(ordered):
        if follow[a] < 0 or after[b] + 1 >= after[a]:
            after[a], follow[a] = max(after[a], after[b] + 1), b
    # A fan of equals has no main stream: it spreads evenly.
    rivals_out, rivals_in = [0] * count, [0] * count
    for a, b in down:
        rivals_out[a] += after[b] + 1 == after[a]
        rivals_in[b] += before[a] + 1 == before[b]
    return {(a, b) for a, b in down if follow[a] == b and lead[b] == a and rivals_out[a] == 1 and rivals_in[b] == 1}


def _parts(
    total: int, up: list[list[int]], dn: list[list[int]], count: int, ports: frozenset[int]
) -> tuple[list[list[int]], list[int]]:
    """What hangs together, and the boxes that hang on nothing. Parts with ports count as one."""
    home = [-1] * total
    parts: list[list[int]] = []
    alone = []
    for root in [*sorted(ports), *range(total)]:
        if home[root] >= 0:
            continue
        if not up[root] and not dn[root] and root not in ports:
            alone.append(root)
            continue
        joined = root in ports and parts
        number = 0 if joined else len(parts)
        if not joined:
            parts.append([])
        home[root] = number
        stack = [root]
        while stack:
            item = stack.pop()
            parts[number].append(item)
            for other in (*up[item], *dn[item]):
                if home[other] < 0:
                    home[other] = number
                    stack.append(other)
    return [sorted(part) for part in parts], alone


def _order(
    part: list[int], row_of: list[int], up: list[list[int]], dn: list[list[int]], check: Callable[[], None]
) -> tuple[tuple[int, ...], ...]:
    """The rows of one part, ordered for few crossings: the best of several starts of median sweeps."""
    low = min(row_of[item] for item in part)
    high = max(row_of[item] for item in part)
    starts = 2 if len(part) < 6000 else 1
    sweeps = 10 if len(part) < 6000 else 5
    best: list[list[int]] = []
    fewest = -1
    for start in range(starts):
        rows: list[list[int]] = [[] for _ in range(high - low + 1)]
        seen: set[int] = set()
        check()
        # A depth-first walk keeps branches together; the second start walks upwards.
        ahead = dn if not start else up
        for root in sorted(part, key=lambda item: row_of[item] if not start else -row_of[item]):
            stack = [root]
            while stack:
                item = stack.pop()
                if item in seen:
                    continue
                seen.add(item)
                rows[row_of[item] - low].append(item)
                stack.extend(reversed(ahead[item]))
        position = [0] * len(row_of)
        for row in rows:
            for i, item in enumerate(row):
                position[item] = i
        crossings = _crossings(rows, position, dn, check)
        if fewest < 0 or crossings < fewest:
            fewest, best = crossings, [list(row) for row in rows]
        stale = 0
        for sweep in range(sweeps):
            if not fewest:
                break
            check()
            downwards = sweep % 2 == start
            order = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
            links = up if downwards else dn
            for r in order:
                row = rows[r]
                if not r % 16:
                    check()
                if len(row) < 2:
                    continue
                key = {}
                for item in row:
                    near = links[item]
                    if not near:
                        key[item] = float(position[item])
                    elif len(near) == 1:
                        key[item] = float(position[near[0]])
                    else:
                        places = sorted(position[other] for other in near)
                        middle = len(places) // 2
                        key[item] = (
                            float(places[middle])
                            if len(places) % 2
                            else (places[middle - 1] + places[middle]) / 2
                            + 1e-4 * (sum(places) / len(places) - places[middle])
                        )
                if sweep % 4 >= 2:
                    row.reverse()  # so that equal keys change places now and then
                row.sort(key=key.__getitem__)
                for i, item in enumerate(row):
                    position[item] = i
            if len(part) < 1500:
                _exchange(rows, position, up, dn)
            crossings = _crossings(rows, position, dn, check)
            if crossings < fewest:
                fewest, best, stale = crossings, [list(row) for row in rows], 0
            else:
                stale += 1
                if stale > 3:
                    break
        if not fewest:
            break
    return tuple(tuple(row) for row in best)


def _crossings(rows: list[list[int]], position: list[int], dn: list[list[int]], check: Callable[[], None]) -> int:
    total = 0
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        ends: list[int] = []
        for item in row:
            for place in sorted(position[other] for other in dn[item]):
                ends.append(place)
        total += _inversions(ends)
    return total


def _inversions(values: list[int]) -> int:
    seen: list[int] = []
    count = 0
    for value in values:
        # Equal values do not cross: they meet in one box.
        place = bisect_left(seen, value + 1)
        count += len(seen) - place
        seen.insert(place, value)
    return count


def _exchange(rows: list[list[int]], position: list[int], up: list[list[int]], dn: list[list[int]]) -> None:
    """Swaps neighbours in a row where that takes crossings away."""
    for row in rows:
        for i in range(len(row) - 1):
            a, b = row[i], row[i + 1]
            gain = 0
            for links in (up, dn):
                la, lb = links[a], links[b]
                if la and lb and len(la) * len(lb) < 400:
                    for x in la:
                        px = position[x]
                        for y in lb:
                            py = position[y]
                            gain += (px > py) - (px < py)
            if gain > 0:
                row[i], row[i + 1] = b, a
                position[a], position[b] = i + 1, i


def place(
    order: Order,
    widths: Sequence[float],
    heights: Sequence[float],
    shift_out: Callable[[int, int], float] | None = None,
    shift_in: Callable[[int, int], float] | None = None,
    check: Callable[[], None] = lambda: None,
    row_gap: float = ROW_GAP,
) -> tuple[list[float], list[float], list[tuple[float, float]], float, float]:
    """Finds coordinates.

    Args:
        order: What `arrange` found.
        widths: Of each box.
        heights: Of each box; ports have 0.
        shift_out: (box, edge) → how far right of the box's middle the edge leaves; None: 0.
        shift_in: The same for where it enters.
        check: Called now and then; may raise to stop.
        row_gap: Room between two rows.

    Returns:
        Middles x and y of boxes and waypoints, for each of them top and bottom of its row, and the width and height
        of all.
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
        left = min(x[item] - width_of[item] / 2 for row in rows for item in row)
        right = max(x[item] + width_of[item] / 2 for row in rows for item in row)
        for number, row in enumerate(rows):
            tall = max((height_of[item] for item in row), default=0.0)
            if not number % 16:
                check()
            if number:
                # Many lines between two rows need room to bend.
                reach = max(
                    (abs(x[item] - x[other]) for item in row for other, _, _ in order.above[item]),
                    default=0.0,
                )
                thin = not tall or not any(height_of[item] for item in rows[number - 1])
                top += (row_gap * 0.55 if thin else row_gap) + min(reach * 0.06, 46.0)
            for item in row:
                y[item] = top + tall / 2
                spans[item] = (top, top + tall)
            top += tall
        everything = [item for row in rows for item in row]
        for item in everything:
            x[item] -= left
        blocks.append((right - left, top, everything))
    width, height = _pack(blocks, order.alone, width_of, height_of, x, y, spans)
    return x, y, spans, width, height


def _columns(
    order: Order,
    rows: tuple[tuple[int, ...], ...],
    width_of: Sequence[float],
    x: list[float],
    shift_out: Callable[[int, int], float] | None,
    shift_in: Callable[[int, int], float] | None,
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
        for item, value in zip(row, places, strict=True):
            x[item] = value - place / 2
    links: list[list[tuple[int, list[tuple[int, float, float]], list[tuple[int, float, float]]]]] = []
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        entry = []
        for item in row:
            ups, downs = [], []
            for other, weight, edge in order.above[item]:
                delta = 0.0
                if edge >= 0 and shift_out and other < count:
                    delta += shift_out(other, edge)
                if edge >= 0 and shift_in and item < count:
                    delta -= shift_in(item, edge)
                ups.append((other, weight, delta))
            for other, weight, edge in order.below[item]:
                delta = 0.0
                if edge >= 0 and shift_in and other < count:
                    delta += shift_in(other, edge)
                if edge >= 0 and shift_out and item < count:
                    delta -= shift_out(item, edge)
                downs.append((other, weight, delta))
            entry.append((item, ups, downs))
        links.append(entry)
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
            for (item, ups, downs), offset in zip(links[r], offsets[r], strict=True):
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
                    wanted.append(x[item] - offset)
                    weights.append(0.05)
            for (item, _, _), offset, value in zip(links[r], offsets[r], _isotonic(wanted, weights), strict=True):
                x[item] = value + offset
    _straighten(rows, links, offsets, x, count, check)


def _straighten(rows, links, offsets, x, count: int, check: Callable[[], None]) -> None:
    """Sets runs of main streams and long edges exactly straight, as far as their neighbours leave room."""
    check()
    place = {item: (r, i) for r, row in enumerate(rows) for i, item in enumerate(row)}
    check()
    follow: dict[int, tuple[int, float]] = {}
    led: set[int] = set()
    for number, row in enumerate(links):
        if not number % 16:
            check()
        for item, ups, _ in row:
            for other, weight, delta in ups:
                if (weight >= SPINE or (item >= count and other >= count)) and other not in follow and item not in led:
                    follow[other] = (item, delta)
                    led.add(item)
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        for head in row:
            if head in led or head not in follow:
                continue
            chain, shift = [(head, 0.0)], 0.0
            item = head
            while item in follow:
                item, delta = follow[item]
                shift += delta
                chain.append((item, shift))
            first = 0
            while first < len(chain):
                low, high, total = -1e18, 1e18, 0.0
                last = first
                while last < len(chain):
                    item, shift = chain[last]
                    r, i = place[item]
                    near, gaps = rows[r], offsets[r]
                    left = x[near[i - 1]] + gaps[i] - gaps[i - 1] - shift if i else -1e18
                    right = x[near[i + 1]] - gaps[i + 1] + gaps[i] - shift if i + 1 < len(near) else 1e18
                    if max(low, left) > min(high, right):
                        break
                    low, high = max(low, left), min(high, right)
                    total += x[item] - shift
                    last += 1
                if last == first:
                    first += 1
                    continue
                target = min(max(total / (last - first), low), high)
                for item, shift in chain[first:last]:
                    x[item] = target + shift
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
    for item in alone:
        x[item], y[item] = width_of[item] / 2, height_of[item] / 2
        spans[item] = (0.0, height_of[item])
        blocks.append((width_of[item], height_of[item], [item]))
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
        for item in items:
            x[item] += left
            y[item] += top
            spans[item] = (spans[item][0] + top, spans[item][1] + top)
        left += w + BOX_GAP
        tall = max(tall, h)
        reach = max(reach, left - BOX_GAP)
    return reach, max(top + tall, first_height)
