"""One open group as layering sees it: its members and the ports on its border as boxes, and edges between those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from icebreaker_gui.layout.layering.rows import Order, arrange
from icebreaker_gui.layout.outline import Level

# Groups with more ports than this let all values in, or out, in one place.
_MOST_PORTS = 24
_NEXT = frozenset({"NextIteration", "RefNextIteration"})

# Where an edge runs: between two members, in from outside, out.
INNER, IN, OUT = "inner", "in", "out"


class Wire(NamedTuple):
    """Values that run the same way in a group.

    Attributes:
        kind: INNER, IN or OUT.
        source: The member that they come from; for IN, the first of the producers.
        target: The member that they go to; for OUT, the first of the producers.
        producers: The leaves whose values they are.
    """

    kind: str
    source: int
    target: int
    producers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Wiring:
    """The wires of a group, and the rows of its members and ports.

    Attributes:
        order: Rows of boxes: the members first, then the ports.
        wires: All wires.
        slots: For each wire the number of its edge in `order`; wires between the same boxes share one.
        port_in: Producer → the port where its value enters.
        port_out: Producer → the port where it leaves.
        number: Member → its number as a box.
    """

    order: Order
    wires: Sequence[Wire]
    slots: Sequence[int]
    port_in: dict[int, int]
    port_out: dict[int, int]
    number: dict[int, int]


def wire(level: Level, ops: Sequence[str], check: Callable[[], None]) -> Wiring:
    """Finds the rows of a group's members and ports.

    Args:
        level: The group's members and the edges among and around them.
        ops: The op of each item of the outline.
        check: Called now and then; may raise to stop.
    """
    number = {member: i for i, member in enumerate(level.members)}
    check()
    edges = [(number[a], number[b]) for a, b in level.edges]
    wires = [Wire(INNER, a, b, producers) for (a, b), producers in level.edges.items()]
    count = len(level.members)
    # Values that go to the same members share a port.
    bundles: dict[tuple[int, ...], list[int]] = {}
    for producer, readers in level.entering.items():
        bundles.setdefault(readers, []).append(producer)
    outward: dict[int, list[int]] = {}
    for producer, member in level.leaving.items():
        outward.setdefault(member, []).append(producer)
    top: list[int] = []
    bottom: list[int] = []
    port_in: dict[int, int] = {}
    port_out: dict[int, int] = {}
    for readers, producers in sorted(bundles.items(), key=lambda entry: entry[1][0]):
        if len(bundles) > _MOST_PORTS and top:
            port = top[0]  # too many to tell apart: all enter in one place
        else:
            port = count
            count += 1
            top.append(port)
        port_in.update(dict.fromkeys(producers, port))
        for reader in readers:
            edges.append((port, number[reader]))
            wires.append(Wire(IN, producers[0], reader, tuple(producers)))
    for member, producers in sorted(outward.items()):
        if len(outward) > _MOST_PORTS and bottom:
            port = bottom[0]
        else:
            port = count
            count += 1
            bottom.append(port)
        port_out.update(dict.fromkeys(producers, port))
        edges.append((number[member], port))
        wires.append(Wire(OUT, member, producers[0], tuple(producers)))
    check()
    unique: dict[tuple[int, int], int] = {}
    for edge in edges:
        unique.setdefault(edge, len(unique))
    back = frozenset(
        unique[edge]
        for edge, line in zip(edges, wires, strict=True)
        if line.kind == INNER and all(ops[producer] in _NEXT for producer in line.producers)
    )
    order = arrange(count, list(unique), frozenset(top), frozenset(bottom), check, back)
    return Wiring(order, wires, [unique[edge] for edge in edges], port_in, port_out, number)
