"""The order within rows: few crossings, by sweeps that move each box to the median of its neighbours."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator


def order_rows(
    part: list[int], row_of: list[int], up: list[list[int]], dn: list[list[int]], check: Callable[[], None]
) -> tuple[tuple[int, ...], ...]:
    """The rows of one part, ordered for few crossings: the best of several starts of median sweeps.

    Args:
        part: Boxes and waypoints that hang together.
        row_of: The row of each.
        up: For each, its neighbours in the row above.
        dn: And in the row below.
        check: Called now and then; may raise to stop.
    """
    low = min(row_of[point] for point in part)
    high = max(row_of[point] for point in part)
    starts = 2 if len(part) < 6000 else 1
    sweeps = 10 if len(part) < 6000 else 5
    best: list[list[int]] = []
    fewest = -1
    for start in range(starts):
        check()
        # A depth-first walk keeps branches together; the second start walks upwards.
        rows: list[list[int]] = [[] for _ in range(high - low + 1)]
        roots = sorted(part, key=lambda point: row_of[point] if not start else -row_of[point])
        for point in _walk(roots, dn if not start else up):
            rows[row_of[point] - low].append(point)
        position = [0] * len(row_of)
        for row in rows:
            for i, point in enumerate(row):
                position[point] = i
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
                key = _medians(row, links, position)
                if sweep % 4 >= 2:
                    row.reverse()  # so that equal keys change places now and then
                row.sort(key=key.__getitem__)
                for i, point in enumerate(row):
                    position[point] = i
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


def _walk(roots: list[int], ahead: list[list[int]]) -> Iterator[int]:
    """All that is met on depth-first walks from the roots, each once."""
    seen: set[int] = set()
    for root in roots:
        stack = [root]
        while stack:
            point = stack.pop()
            if point in seen:
                continue
            seen.add(point)
            yield point
            stack.extend(reversed(ahead[point]))


def _medians(row: list[int], links: list[list[int]], position: list[int]) -> dict[int, float]:
    """Where each of a row wants to be: at the median of its neighbours in the next row."""
    wanted = {}
    for point in row:
        near = links[point]
        if not near:
            wanted[point] = float(position[point])
        elif len(near) == 1:
            wanted[point] = float(position[near[0]])
        else:
            places = sorted(position[other] for other in near)
            middle = len(places) // 2
            wanted[point] = (
                float(places[middle])
                if len(places) % 2
                else (places[middle - 1] + places[middle]) / 2 + 1e-4 * (sum(places) / len(places) - places[middle])
            )
    return wanted


def _crossings(rows: list[list[int]], position: list[int], dn: list[list[int]], check: Callable[[], None]) -> int:
    """Number of pairs of edges that cross, in all rows."""
    total = 0
    for number, row in enumerate(rows):
        if not number % 16:
            check()
        ends: list[int] = []
        for point in row:
            for place in sorted(position[other] for other in dn[point]):
                ends.append(place)
        total += _inversions(ends)
    return total


def _inversions(values: list[int]) -> int:
    """Number of pairs in which a larger value comes before a smaller one."""
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
