"""Orders of things that read from one another, and what lies in circles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def just_in_time(items: list[int], edges: Iterable[tuple[int, int]]) -> list[int]:
    """Orders items so that each comes after what it reads, and side inputs right before their reader.

    A depth-first walk from the sinks that visits the deepest input first. Edges of cycles are passed over.
    """
    needs: dict[int, list[int]] = {item: [] for item in items}
    is_read: set[int] = set()
    for a, b in edges:
        needs[b].append(a)
        is_read.add(a)
    depth: dict[int, int] = {}
    for root in items:  # longest way from a source, cycles cut where the walk meets itself
        stack = [(root, iter(needs[root]))] if root not in depth else []
        if stack:
            depth[root] = 0
        while stack:
            item, rest = stack[-1]
            for other in rest:
                if other not in depth:
                    depth[other] = 0
                    stack.append((other, iter(needs[other])))
                    break
            else:
                stack.pop()
                depth[item] = 1 + max((depth[other] for other in needs[item]), default=-1)
    order: list[int] = []
    done: set[int] = set()
    sinks = sorted((item for item in items if item not in is_read), key=lambda item: -depth[item])
    for root in [*sinks, *items]:
        if root in done:
            continue
        done.add(root)
        stack = [(root, iter(sorted(needs[root], key=lambda other: -depth[other])))]
        while stack:
            item, rest = stack[-1]
            for other in rest:
                if other not in done:
                    done.add(other)
                    stack.append((other, iter(sorted(needs[other], key=lambda inner: -depth[inner]))))
                    break
            else:
                stack.pop()
                order.append(item)
    return order


def circular(count: int, near: Mapping[int, list[int]]) -> set[int]:
    """Those of `count` numbers that lie on a cycle (Tarjan's strongly connected components of more than one).

    Args:
        count: The numbers are 0 to `count` - 1.
        near: Number → where its edges lead.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    on_cycle: set[int] = set()
    for root in range(count):
        if root in index:
            continue
        work = [(root, iter(near.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            number, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(near.get(other, ()))))
                    break
                if other in on_stack:
                    low[number] = min(low[number], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[number])
                if low[number] == index[number]:
                    part = []
                    while True:
                        other = stack.pop()
                        on_stack.discard(other)
                        part.append(other)
                        if other == number:
                            break
                    if len(part) > 1:
                        on_cycle.update(part)
    return on_cycle
