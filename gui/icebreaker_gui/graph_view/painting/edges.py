"""Edges: curves with arrows when near, straight lines in one call when far; stubs where an edge is not drawn whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QLineF, QPointF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPen, QPolygonF

from icebreaker_gui.graph_view.painting.prepared import Prepared
from icebreaker_gui.graph_view.painting.shapes import arrow, curve, mix
from icebreaker_gui.graph_view.painting.text import Texts, font
from icebreaker_gui.graph_view.painting.view import ONE_LINE, PLAIN, TWO_LINES, Moved, View
from icebreaker_gui.layout import BACK, CONTROL, DATA
from icebreaker_gui.style import theme

_MOST_CURVES = 2500  # more edges than this in sight are painted straight
_MOST_WHILE_MOVING = 25_000  # straight lines a frame while the view moves


@dataclass(frozen=True, eq=False)
class StraightLines:
    """All edges as straight lines between their points, the longest first.

    Attributes:
        lines: In scene coordinates.
        length: Of each line along its longer axis.
        edge: The edge piece that each belongs to.
        low, high: Upper left and lower right corner around each, [n, 2].
    """

    lines: list[QLineF]
    length: np.ndarray
    edge: np.ndarray
    low: np.ndarray
    high: np.ndarray


class EdgePainter:
    """Paints edges and stubs, and the edges of one item on top of all."""

    def __init__(self, prepared: Prepared, texts: Texts) -> None:
        self._prepared, self._texts = prepared, texts
        self._straight: StraightLines | None = None
        self._paths: dict[int, QPainterPath] = {}

    def straight_lines(self) -> StraightLines:
        """All edges as straight lines; may be called in a worker thread, ahead of the first frame."""
        if self._straight is None:
            points, starts = self._prepared.scene.points, self._prepared.scene.starts
            inner = np.ones(len(points), bool)
            inner[starts[1:] - 1] = False
            first = np.flatnonzero(inner)
            a, b = points[first], points[first + 1]
            order = np.argsort(-np.abs(b - a).max(axis=1), kind="stable")
            a, b = a[order], b[order]
            edge = np.searchsorted(starts, first[order], side="right") - 1
            lines = [QLineF(*values) for values in np.hstack([a, b]).tolist()]
            length = np.abs(b - a).max(axis=1)
            self._straight = StraightLines(lines, length, edge, np.minimum(a, b), np.maximum(a, b))
        return self._straight

    def paint(self, painter: QPainter, view: View, moved: Moved | None) -> None:
        """Paints the edges in sight; all that are to be seen where something has `moved`."""
        prepared, scene = self._prepared, self._prepared.scene
        if not len(scene.edge_kind):
            return
        if moved is None:
            left, top, right, bottom = view.window
            low, high = prepared.edge_low, prepared.edge_high
            seen = (low[:, 0] < right) & (low[:, 1] < bottom) & (high[:, 0] > left) & (high[:, 1] > top)
        else:
            seen = np.ones(len(scene.edge_kind), bool)
        fade = 1.0  # opacity of edges in segments
        if view.morph == 0:
            seen &= ~prepared.edge_extra
        else:
            fade = max(0.0, 1 - 2.2 * view.morph)
            if fade <= 0:
                seen &= ~prepared.edge_in_segment
        edges = np.flatnonzero(seen)
        if not len(edges):
            return
        painter.save()
        painter.setTransform(view.transform, True)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if moved is None and (view.leaf < PLAIN or len(edges) > _MOST_CURVES):
            self._paint_straight(painter, seen, len(edges), view)
            painter.restore()
            return
        self._paint_curves(painter, edges, view, fade, moved)
        painter.restore()
        if view.scale >= 0.8 and not view.moving and moved is None:
            self._paint_flows(painter, edges, view)

    def _paint_straight(self, painter: QPainter, seen: np.ndarray, count: int, view: View) -> None:
        """The `count` edges that are `seen`, as straight lines in one call; those below a pixel are left out."""
        colors = theme.current()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not view.moving and count < 3000)
        # Mixed, not transparent: blending takes twice the time.
        soft = mix(colors.color("edge"), colors.color("panel"), 0.25 if count < 3000 else 0.5)
        painter.setPen(QPen(soft, 0))
        straight = self.straight_lines()
        long = int(np.searchsorted(-straight.length, -1.2 / view.scale))
        left, top, right, bottom = view.window
        low, high = straight.low[:long], straight.high[:long]
        use = seen[straight.edge[:long]] & (low[:, 0] < right) & (low[:, 1] < bottom)
        use &= (high[:, 0] > left) & (high[:, 1] > top)
        chosen = np.flatnonzero(use)[: _MOST_WHILE_MOVING if view.moving else None]
        if len(chosen) == long:
            painter.drawLines(straight.lines[:long])
        elif len(chosen):
            painter.drawLines([straight.lines[i] for i in chosen.tolist()])

    def _paint_curves(self, painter: QPainter, edges: np.ndarray, view: View, fade: float, moved: Moved | None) -> None:
        """Curves with arrows; those in segments with the opacity `fade`."""
        scene, in_segment = self._prepared.scene, self._prepared.edge_in_segment
        colors = theme.current()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not view.moving or len(edges) < 250)
        data, control = colors.color("edge"), colors.color("control_edge")
        width = 0 if view.scale < 0.75 else 1.25 / view.scale
        pens = {
            DATA: QPen(data, width, Qt.PenStyle.SolidLine),
            CONTROL: QPen(control, width, Qt.PenStyle.DashLine),
            BACK: QPen(data, width, Qt.PenStyle.DotLine),
        }
        points, starts = (scene.points if moved is None else moved.points), scene.starts
        with_arrows = view.leaf >= ONE_LINE + 2
        heads: dict[int, list[QPolygonF]] = {}
        for edge in edges.tolist():
            path = self._path(edge) if moved is None else curve(points[starts[edge] : starts[edge + 1]], scene.sideways)
            edge_kind = int(scene.edge_kind[edge])
            painter.setPen(pens[edge_kind])
            if fade < 1:
                painter.setOpacity(fade if in_segment[edge] else 1.0)
            painter.drawPath(path)
            ends_in_box = scene.edge_to[edge] != scene.edge_in[edge]
            if with_arrows and (fade == 1 or not in_segment[edge]) and ends_in_box:
                end = points[starts[edge + 1] - 1]
                heads.setdefault(edge_kind, []).append(arrow(end[0], end[1], scene.sideways))
        painter.setOpacity(1.0)
        for edge_kind, polygons in heads.items():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(control if edge_kind == CONTROL else data)
            for polygon in polygons:
                painter.drawPolygon(polygon)

    def _paint_flows(self, painter: QPainter, edges: np.ndarray, view: View) -> None:
        """What flows along an edge, beside its beginning."""
        scene, flows = self._prepared.scene, self._prepared.look.flows
        scale, (dx, dy) = view.scale, view.offset
        px = max(8, round(9 * scale))
        painter.setFont(font(px, False))
        painter.setPen(theme.current().color("muted"))
        told: set[tuple[float, float]] = set()
        for edge in edges.tolist():
            producers = scene.producers[edge]
            if len(producers) != 1 or scene.edge_from[edge] == scene.edge_in[edge]:
                continue
            x, y = scene.points[scene.starts[edge]].tolist()
            if (x, y) not in told and scene.edge_kind[edge] != CONTROL:
                told.add((x, y))
                words = self._texts.shape(flows(producers[0]), px, False, (60 if scene.sideways else 150) * scale)
                place = QPointF(x * scale + dx + 5 * scale, y * scale + dy + 9 * scale)
                if scene.sideways:
                    place = QPointF(x * scale + dx + 5 * scale, y * scale + dy - words.height - 1)
                painter.drawStaticText(place, words.text)

    def paint_highlight(self, painter: QPainter, view: View, edges: Sequence[tuple[int, bool]]) -> None:
        """Paints edge pieces strongly: what comes in in the graph's own colour, what `leaves` in the accent."""
        prepared, scene = self._prepared, self._prepared.scene
        colors = theme.current()
        painter.save()
        painter.setTransform(view.transform, True)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for edge, leaves in edges:
            gone = view.morph > 0.5 and prepared.edge_in_segment[edge]
            if gone or (view.morph == 0 and prepared.edge_extra[edge]):
                continue
            color = colors.color("accent") if leaves else colors.color("original")
            pen = QPen(color, 2.0)
            pen.setCosmetic(True)
            if int(scene.edge_kind[edge]) == CONTROL:
                pen.setStyle(Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawPath(self._path(edge))
            if scene.edge_to[edge] != scene.edge_in[edge]:
                end = scene.points[scene.starts[edge + 1] - 1]
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(color)
                painter.drawPolygon(arrow(end[0], end[1], scene.sideways))
                painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.restore()

    def paint_stubs(self, painter: QPainter, view: View) -> None:
        """Paints the ends of edges that are not drawn as lines, with the name of the producer at the reader."""
        scene = self._prepared.scene
        if not scene.stubs:
            return
        colors = theme.current()
        outline, scale, (dx, dy) = scene.outline, view.scale, view.offset
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        px = max(7, round(9 * scale))
        painter.setFont(font(px, False))
        segment_of = outline.segment_of
        told: set[tuple[float, float]] = set()
        for producer, reader, sx, sy, at_reader in scene.stubs:
            if (sx, sy) in told:
                continue
            told.add((sx, sy))
            vx, vy = sx * scale + dx, sy * scale + dy
            if not (-60 < vx < view.width + 60 and -30 < vy < view.height + 30):
                continue
            end = reader if at_reader else producer
            if view.morph > 0 and segment_of[end] >= 0 and (reader < 0 or segment_of[producer] == segment_of[end]):
                continue
            painter.setPen(QPen(colors.color("edge"), 1.2))
            step = (-9 if at_reader else 9) * scale
            tip = QPointF(vx + step, vy) if scene.sideways else QPointF(vx, vy + step)
            painter.drawLine(QPointF(vx, vy), tip)
            painter.setBrush(colors.color("edge"))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.drawEllipse(tip, 2.2 * scale + 0.4, 2.2 * scale + 0.4)
            if at_reader and view.leaf >= TWO_LINES:
                room = (52 if scene.sideways else 90) * scale
                words = self._texts.shape(outline.labels[producer], px, False, room)
                painter.setPen(colors.color("muted"))
                place = QPointF(vx + 5 * scale, tip.y() - words.height * 0.6)
                if scene.sideways:
                    place = QPointF(tip.x() - words.width - 5 * scale, vy - words.height / 2)
                painter.drawStaticText(place, words.text)

    def _path(self, edge: int) -> QPainterPath:
        path = self._paths.get(edge)
        if path is None:
            scene = self._prepared.scene
            points = scene.points[scene.starts[edge] : scene.starts[edge + 1]]
            path = self._paths[edge] = curve(points, scene.sideways)
        return path
