"""Which row each box belongs to, and which edges are drawn at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# An edge over more rows than this, and all but the nearest edge of a box with more readers than that, is a stub.
LONGEST = 60
MOST_READERS = 16


def turned_edges(count: int, edges: Sequence[tuple[int, int]], back: frozenset[int]) -> set[int]:
    """Numbers of the edges that are drawn upwards, so that all others can run downwards.

    These are the edges that close a cycle on a depth-first walk from the sources, and those known to lead `back`.
    """
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
    against = set(back)
    for root in sorted(range(count), key=lambda box: reads[box] > 0):
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(out[root]))]
        while stack:
            box, rest = stack[-1]
            for other, number in rest:
                if state[other] == 1:
                    against ^= {number}
                elif not state[other]:
                    state[other] = 1
                    stack.append((other, iter(out[other])))
                    break
            else:
                state[box] = 2
                stack.pop()
    return against


def rank_boxes(
    count: int,
    down: Sequence[tuple[int, int]],
    top: frozenset[int],
    bottom: frozenset[int],
    check: Callable[[], None],
) -> list[int]:
    """The row of each box: by longest path, then every box moves to where its edges are shortest."""
    ins: list[list[int]] = [[] for _ in range(count)]
    outs: list[list[int]] = [[] for _ in range(count)]
    for a, b in down:
        ins[b].append(a)
        outs[a].append(b)
    waiting = [len(items) for items in ins]
    ready = [box for box in range(count) if not waiting[box]]
    order = []
    row = [0 if not top or box in top else 1 for box in range(count)]
    while ready:
        box = ready.pop()
        order.append(box)
        for other in outs[box]:
            row[other] = max(row[other], row[box] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for _ in range(6):
        check()
        moved = False
        for box in reversed(order):
            if outs[box] and len(outs[box]) > sum(other not in top for other in ins[box]) and box not in top:
                best = min(row[other] for other in outs[box]) - 1
                if best > row[box]:
                    row[box] = best
                    moved = True
        for box in order:
            if ins[box] and len(ins[box]) > len(outs[box]) and box not in bottom:
                best = max(row[other] for other in ins[box]) + 1
                if best < row[box]:
                    row[box] = best
                    moved = True
        if not moved:
            break
    if bottom:
        last = 1 + max((row[box] for box in range(count) if box not in bottom), default=0)
        row = [last if box in bottom else value for box, value in enumerate(row)]
    return row


def drawn_edges(down: Sequence[tuple[int, int]], rank: list[int]) -> list[int]:
    """Numbers of the edges that are drawn as lines; the others are stubs."""
    fans: dict[int, list[int]] = {}
    for number, (a, _) in enumerate(down):
        fans.setdefault(a, []).append(number)
    lines = []
    for numbers in fans.values():
        if len(numbers) > MOST_READERS:
            numbers = [min(numbers, key=lambda n: (rank[down[n][1]], n))]
        lines.extend(n for n in numbers if rank[down[n][1]] - rank[down[n][0]] <= LONGEST)
    return sorted(lines)


def spine_edges(
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


def connected_parts(
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
            point = stack.pop()
            parts[number].append(point)
            for other in (*up[point], *dn[point]):
                if home[other] < 0:
                    home[other] = number
                    stack.append(other)
    return [sorted(part) for part in parts], alone
