"""The inside of one open group: where its members, the edges among them and the ports on its border are.

Everything is laid out from top to bottom, with the origin at the group's own top left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from icebreaker_gui.layout.layering.coordinates import ROW_GAP, Coordinates, Shift, place
from icebreaker_gui.layout.outline import Level
from icebreaker_gui.layout.scene import BACK, CONTROL, DATA
from icebreaker_gui.layout.sizes import MARGIN, TITLE
from icebreaker_gui.layout.wiring import IN, INNER, OUT, Wire, Wiring

_SIDEWAYS_GAP = 66.0  # between columns: shapes are written along the edges there
_PORT_WIDTH = 10.0
_STRIDE = 512

Point = tuple[float, float]
Edge = tuple[int, int, int, list[Point], tuple[int, ...]]  # from, to, kind, points, producers
Stub = tuple[int, int, float, float, bool]  # as in `Scene.stubs`


@dataclass(eq=False)
class Inside:
    """One open group, laid out.

    Attributes:
        width: Of the group.
        height: Of the group.
        places: Top left corner of each member.
        ports_in: Producer → x on the upper border.
        ports_out: Producer → x on the lower border.
        edges: Edges among members and ports.
        stubs: Ends of edges that are not drawn as lines.
    """

    width: float
    height: float
    places: list[Point]
    ports_in: dict[int, float]
    ports_out: dict[int, float]
    edges: list[Edge] = field(default_factory=list)
    stubs: list[Stub] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Group:
    """What is to be laid out.

    Attributes:
        number: The group's item, 0 for the root.
        level: Its members and their edges.
        label: Its name.
        wiring: The rows of members and ports.
        insides: Members that are open groups → how they are laid out.
        extent: Gives width and height of any other member.
        sideways: True if the drawing will have its axes exchanged.
    """

    number: int
    level: Level
    label: str
    wiring: Wiring
    insides: Mapping[int, Inside]
    extent: Callable[[int], Point]
    sideways: bool


@dataclass(frozen=True)
class _Frame:
    """Room around what is in a group, and its size with that; `upper` is where edges from outside begin."""

    left: float
    above: float
    width: float
    height: float
    upper: float


def lay_out(group: Group, check: Callable[[], None]) -> Inside:
    """Lays out one open group; `check` is called now and then and may raise to stop."""
    wiring, members = group.wiring, group.level.members
    widths, heights = [], []
    for member in members:
        inside = group.insides.get(member)
        width, height = (inside.width, inside.height) if inside else group.extent(member)
        widths.append(width)
        heights.append(height)
    ports = wiring.order.boxes - len(members)
    widths += [_PORT_WIDTH] * ports
    heights += [0.0] * ports
    check()
    shift_out, shift_in = _shifts(group)
    at = place(
        wiring.order, widths, heights, shift_out, shift_in, check, _SIDEWAYS_GAP if group.sideways else ROW_GAP
    )  # fmt: skip
    frame = _frame(group, at)
    left, above = frame.left, frame.above
    result = Inside(
        frame.width,
        frame.height,
        [(left + at.x[i] - widths[i] / 2, above + at.y[i] - heights[i] / 2) for i in range(len(members))],
        {producer: left + at.x[port] for producer, port in wiring.port_in.items()},
        {producer: left + at.x[port] for producer, port in wiring.port_out.items()},
    )
    _Router(group, result, at, frame).route(check)
    return result


def _shifts(group: Group) -> tuple[Shift | None, Shift | None]:
    """How far from the middles of open groups edges leave and enter: where the ports are."""
    wiring, insides = group.wiring, group.insides
    leaves: dict[tuple[int, int], float] = {}
    enters: dict[tuple[int, int], float] = {}
    for slot, (kind, source, target, producers) in zip(wiring.slots, wiring.wires, strict=True):
        if kind != IN and source in insides:
            ports = insides[source].ports_out
            places = [ports[producer] for producer in producers if producer in ports]
            if places:
                middle = sum(places) / len(places) - insides[source].width / 2
                leaves[wiring.number[source], slot] = _soft(middle)
        if kind != OUT and target in insides:
            ports = insides[target].ports_in
            places = [ports[producer] for producer in producers if producer in ports]
            if places:
                middle = sum(places) / len(places) - insides[target].width / 2
                enters[wiring.number[target], slot] = _soft(middle)
    return (
        (lambda box, edge: leaves.get((box, edge), 0.0)) if leaves else None,
        (lambda box, edge: enters.get((box, edge), 0.0)) if enters else None,
    )


def _frame(group: Group, at: Coordinates) -> _Frame:
    """The room around the members: for margins, the group's title, and bends at its ports."""
    root = group.number == 0
    title = 0.0 if root else min(340.0, 7.2 * len(group.label) + 90.0)
    if group.sideways:  # the title lies beside the way that edges go
        left = MARGIN if root else TITLE + 4.0
        full = left + at.width + MARGIN
        above = MARGIN if root else 18.0
        above += max(0.0, title - 2 * above - at.height) / 2
        below = above
    else:
        full = max(at.width + 2 * MARGIN, title)
        left = (full - at.width) / 2
        above = MARGIN if root else TITLE + (6.0 if group.wiring.port_in else 10.0)
        below = MARGIN if root or not group.wiring.port_out else 10.0
    return _Frame(left, above, full, above + at.height + below, above if root else 0.0)


class _Router:
    """Finds the points of a group's edges, and where its stubs are."""

    def __init__(self, group: Group, result: Inside, at: Coordinates, frame: _Frame) -> None:
        self._group, self._result, self._at, self._frame = group, result, at, frame
        self._silent: dict[int, list[int]] = {}  # members with readers that no line leads to → their producers

    def route(self, check: Callable[[], None]) -> None:
        """Adds edges and stubs to the result."""
        group, stubs = self._group, self._result.stubs
        for turn, (slot, wire) in enumerate(zip(group.wiring.slots, group.wiring.wires, strict=True)):
            if not turn % _STRIDE:
                check()
            if group.wiring.order.paths[slot]:
                self._route_wire(slot, wire)
                continue
            if wire.kind != OUT:
                for producer in wire.producers:
                    stubs.append((producer, wire.target, *self._head(wire.target, producer), True))
            if wire.kind != IN:
                self._silent.setdefault(wire.source, []).append(wire.producers[0])
        check()
        for producer, readers in group.level.stubs.items():
            for reader in readers:
                if reader not in group.insides:  # an open group tells it inside
                    stubs.append((producer, reader, *self._head(reader, producer), True))
            if producer in group.wiring.number:
                self._silent.setdefault(producer, []).append(producer)
        for member, producers in self._silent.items():
            stubs.append((producers[0], -1, *self._base(member, producers[0]), False))

    def _route_wire(self, slot: int, wire: Wire) -> None:
        """Adds the edges of one wire: one for each pair of ends that its values have."""
        group, result = self._group, self._result
        turned = slot in group.wiring.order.turned
        path = group.wiring.order.paths[slot]
        middle = self._waypoints(path, turned)
        control = wire.kind == INNER and (wire.source, wire.target) in group.level.control
        edge_kind = BACK if turned else CONTROL if control else DATA
        carried: dict[tuple[Point, Point], list[int]] = {}
        for producer in wire.producers:
            carried.setdefault(self._ends(wire, producer), []).append(producer)
        for (first, last), producers in carried.items():
            points = [first, *middle, last]
            if turned:
                points = _around(first, middle, last)
            else:
                # Straight down past taller neighbours in the row before it bends, lest it run over them.
                low = self._frame.above + self._at.spans[path[0]][1]
                high = self._frame.above + self._at.spans[path[-1]][0]
                if last[1] > high + 4:
                    points.insert(-1, (last[0], high))
                if low > first[1] + 4:
                    points.insert(1, (first[0], low))
            start = group.number if wire.kind == IN else wire.source
            end = group.number if wire.kind == OUT else wire.target
            result.edges.append((start, end, edge_kind, points, tuple(producers)))

    def _waypoints(self, path: tuple[int, ...], turned: bool) -> list[Point]:
        """Points between the ends of an edge."""
        points: list[Point] = []
        for waypoint in path[1:-1]:
            high, low = self._at.spans[waypoint]
            x = self._frame.left + self._at.x[waypoint]
            points.append((x, self._frame.above + high))
            if low > high:
                points.append((x, self._frame.above + low))
        return points[::-1] if turned else points

    def _ends(self, wire: Wire, producer: int) -> tuple[Point, Point]:
        result, frame = self._result, self._frame
        entering, leaving = wire.kind == IN, wire.kind == OUT
        first = (result.ports_in[producer], frame.upper) if entering else self._base(wire.source, producer)
        last = (result.ports_out[producer], frame.height) if leaving else self._head(wire.target, producer)
        return first, last

    def _base(self, member: int, producer: int) -> Point:
        """Where a producer's value leaves a member, at its bottom."""
        x, y = self._result.places[self._group.wiring.number[member]]
        inside = self._group.insides.get(member)
        if inside:
            return x + inside.ports_out.get(producer, inside.width / 2), y + inside.height
        width, height = self._group.extent(member)
        return x + width / 2, y + height

    def _head(self, member: int, producer: int) -> Point:
        """Where a producer's value enters a member, at its top."""
        x, y = self._result.places[self._group.wiring.number[member]]
        inside = self._group.insides.get(member)
        if inside:
            return x + inside.ports_in.get(producer, inside.width / 2), y
        return x + self._group.extent(member)[0] / 2, y


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
