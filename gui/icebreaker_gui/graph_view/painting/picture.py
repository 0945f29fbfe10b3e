"""Paints a scene with any QPainter: the screen, a minimap, a PNG, an SVG or a PDF.

A widget that owns an item a node takes 100 ms a frame at 10,000 nodes. Here everything comes from arrays: one
comparison finds what is visible; far away, boxes are written as pixels or drawn one call a colour; only what is near
enough to be read gets rounded corners, words and curves.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from icebreaker_gui.graph_view.painting.boxes import BoxPainter
from icebreaker_gui.graph_view.painting.edges import EdgePainter
from icebreaker_gui.graph_view.painting.engine_nodes import EngineNodePainter, flow_into_engines
from icebreaker_gui.graph_view.painting.groups import GroupPainter
from icebreaker_gui.graph_view.painting.look import NO_MARKS, Look, Marks
from icebreaker_gui.graph_view.painting.prepared import Prepared
from icebreaker_gui.graph_view.painting.text import Texts
from icebreaker_gui.graph_view.painting.view import ONE_LINE, PIXELS, PLAIN, Boxes, Moved, View
from icebreaker_gui.layout import Outline, Scene
from icebreaker_gui.style import theme

_MOST_HIGHLIGHTED = 2000  # edges of one item


class Picture:
    """A scene in one look; painted again and again, it gets faster, as words and curves are kept."""

    def __init__(self, scene: Scene, look: Look) -> None:
        self.scene, self.look = scene, look
        self._prepared = Prepared(scene, look)
        texts = Texts()
        self._edges = EdgePainter(self._prepared, texts)
        self._groups = GroupPainter(self._prepared, texts)
        self._engine_nodes = EngineNodePainter(self._prepared, texts)
        self._boxes = BoxPainter(self._prepared, texts, self._engine_nodes)
        self._by_producer: dict[int, list[int]] | None = None

    def prepare(self) -> None:
        """Does ahead what the first frame needs; may be called in a worker thread."""
        self._edges.straight_lines()

    # ---- questions --------------------------------------------------------------------------------------------------

    def at(self, x: float, y: float, morph: float = 0.0) -> int:
        """The innermost item at a scene point, -1 without one; 0 for `morph` asks for the graph before, 1 for after."""
        boxes, prepared = self.scene.boxes, self._prepared
        left, top = boxes[:, 0], boxes[:, 1]
        hit = (left <= x) & (x <= left + boxes[:, 2]) & (top <= y) & (y <= top + boxes[:, 3])
        hit &= ~prepared.in_segment if morph > 0.5 else ~prepared.is_extra
        rows = np.flatnonzero(hit)
        return int(self.scene.items[rows[-1]]) if len(rows) else -1

    def edges_of(self, item: int) -> list[tuple[int, bool]]:
        """Numbers of the edge pieces of an item with whether they leave it: every piece on the way is included."""
        scene, outline = self.scene, self.scene.outline
        if item < 0:
            return []
        if self._by_producer is None:
            self._by_producer = {}
            for edge, producers in enumerate(scene.producers):
                for producer in producers:
                    self._by_producer.setdefault(producer, []).append(edge)
        inside = outline.leaves_of(item)
        own = set(inside)
        above = {item, *outline.ancestors(item)}
        pieces: list[tuple[int, bool]] = []
        readers = np.isin(outline.target, np.array(inside, np.int64))
        for producer in np.unique(outline.source[readers]).tolist():
            if producer in own:
                continue
            for edge in self._by_producer.get(producer, ()):
                to, home = int(scene.edge_to[edge]), int(scene.edge_in[edge])
                # On the way: towards a group around the item, or out of a group around the producer.
                if (to in above and to != home) or (to == home and home not in above):
                    pieces.append((edge, False))
        groups = _groups_in(outline, item)
        for producer in inside:
            for edge in self._by_producer.get(producer, ()):
                if int(scene.edge_in[edge]) not in groups:
                    pieces.append((edge, True))
        return pieces

    # ---- painting ---------------------------------------------------------------------------------------------------

    def paint(self, painter: QPainter, view: View, marks: Marks = NO_MARKS, moved: Moved | None = None) -> None:
        """Paints what the camera sees.

        Args:
            painter: A painter whose units are device-independent pixels.
            view: Where to look, and at which of the two graphs.
            marks: What to emphasize.
            moved: Where boxes and edges are while something opens or closes; None: where the scene has them.
        """
        prepared, is_open = self._prepared, self.scene.is_open
        boxes = Boxes.of(self.scene.boxes if moved is None else moved.boxes, view)
        visible = boxes.in_sight(view)
        if view.morph >= 1:
            visible &= ~prepared.in_segment
        elif view.morph == 0:
            visible &= ~prepared.is_extra
        elif prepared.in_segment.any():
            boxes = flow_into_engines(prepared, boxes, view.morph)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not (view.moving and view.leaf < ONE_LINE))
        opened = np.flatnonzero(visible & is_open)
        self._groups.paint_frames(painter, opened, view, boxes)
        self._edges.paint(painter, view, moved)
        self._groups.paint_titles(painter, opened, view, boxes)
        closed = visible & ~is_open
        tiny = closed & (boxes.h < PIXELS)
        plain = closed & ~tiny & (boxes.h < PLAIN)
        readable = closed & ~tiny & ~plain
        if tiny.any():
            self._boxes.paint_pixels(painter, np.flatnonzero(tiny), view, boxes)
        if plain.any():
            self._boxes.paint_plain(painter, np.flatnonzero(plain), boxes)
        if readable.any():
            self._boxes.paint_readable(painter, np.flatnonzero(readable), view, boxes)
        if view.morph > 0:
            self._engine_nodes.paint_open(painter, view, boxes)
        if view.leaf >= PLAIN:
            self._edges.paint_stubs(painter, view)
        self._paint_marks(painter, marks, view, boxes, visible)

    def highlight(self, painter: QPainter, view: View, item: int) -> None:
        """Paints the edges of one item on top of all others."""
        self._edges.paint_highlight(painter, view, self.edges_of(item)[:_MOST_HIGHLIGHTED])

    def _paint_marks(self, painter: QPainter, marks: Marks, view: View, boxes: Boxes, visible: np.ndarray) -> None:
        """Paints rings around what is emphasized; the chosen item's last, on top."""
        scene = self.scene
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)

        def ring(
            row: int, color: QColor, pen_width: float, grow: float, style: Qt.PenStyle = Qt.PenStyle.SolidLine
        ) -> None:
            if row < 0 or not visible[row]:
                return
            box = QRectF(boxes.x[row], boxes.y[row], max(boxes.w[row], 3), max(boxes.h[row], 3))
            painter.setPen(QPen(color, pen_width, style))
            radius = 7 * view.scale + 2
            painter.drawRoundedRect(box.adjusted(-grow, -grow, grow, grow), radius, radius)

        colors = theme.current()
        accent = colors.color("accent")
        found = theme.hue("purple")  # the colour of no heat
        for row in sorted({scene.row(item) for item in marks.found}):
            ring(row, found, 2, 2)
        for row in sorted({scene.row(item) for item in marks.kept}):
            ring(row, colors.color("text"), 1.6, 3, Qt.PenStyle.DashLine)
        for item in marks.lit:
            ring(scene.row(item), accent, 1.6, 1.5)
        if marks.hovered >= 0 and marks.hovered != marks.selected:
            ring(scene.row(marks.hovered), colors.color("accent", 0.6), 1.4, 0.5)
        if marks.selected >= 0:
            row = scene.row(marks.selected)
            if marks.focus:
                ring(row, colors.color("accent", 0.3), 6, 3)
            ring(row, accent, 2.4, 1.5)


def _groups_in(outline: Outline, item: int) -> frozenset[int]:
    """A group and all groups in it; empty for a leaf."""
    groups, stack = [], [item]
    while stack:
        group = stack.pop()
        if outline.members[group]:
            groups.append(group)
            stack.extend(outline.members[group])
    return frozenset(groups)
