"""Engine nodes: solid blocks in their engine's colour, and the ops that flow into them between before and after."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QLinearGradient, QPainter, QPen

from icebreaker_gui.graph_view.painting.look import EngineNode
from icebreaker_gui.graph_view.painting.prepared import Prepared
from icebreaker_gui.graph_view.painting.shapes import mix
from icebreaker_gui.graph_view.painting.text import Texts, font, metrics
from icebreaker_gui.graph_view.painting.view import Boxes, View
from icebreaker_gui.style import theme

# From this morph on there are words and shadows: the ops have arrived.
_ARRIVED = 0.55
_MOST_SHADOWS = 3000


def flow_into_engines(prepared: Prepared, boxes: Boxes, morph: float) -> Boxes:
    """Boxes with the ops of segments on their way into the engine nodes: smaller, fainter, nearer to the middle."""
    rows = np.flatnonzero(prepared.in_segment)
    items = prepared.scene.items.tolist()
    home = {int(item): row for row, item in enumerate(items) if prepared.is_engine_node[row]}
    engine = np.array([home.get(int(item), -1) for item in prepared.segment[rows].tolist()])
    rows, engine = rows[engine >= 0], engine[engine >= 0]
    x, y, w, h = boxes.x.copy(), boxes.y.copy(), boxes.w.copy(), boxes.h.copy()
    cx, cy = x[engine] + w[engine] / 2, y[engine] + h[engine] / 2
    # Those far from the middle start first, so that the stream closes in.
    far = np.abs(y[rows] + h[rows] / 2 - cy) / np.maximum(h[engine] / 2, 1)
    if prepared.scene.sideways:
        far = np.abs(x[rows] + w[rows] / 2 - cx) / np.maximum(w[engine] / 2, 1)
    start = 0.35 * (1 - np.clip(far, 0, 1))
    t = np.clip((morph - start) / 0.65, 0, 1)
    t = t * t * (3 - 2 * t)
    fade = np.ones(len(x))
    shrink = 1 - 0.8 * t
    mx, my = x[rows] + w[rows] / 2, y[rows] + h[rows] / 2
    mx, my = mx + (cx - mx) * t, my + (cy - my) * t
    w[rows], h[rows] = w[rows] * shrink, h[rows] * shrink
    x[rows], y[rows] = mx - w[rows] / 2, my - h[rows] / 2
    fade[rows] = 1 - t
    return Boxes(x, y, w, h, fade)


class EngineNodePainter:
    """Paints engine nodes, whether their segments are open or closed."""

    def __init__(self, prepared: Prepared, texts: Texts) -> None:
        self._prepared, self._texts = prepared, texts

    def paint_open(self, painter: QPainter, view: View, boxes: Boxes) -> None:
        """Paints those whose segments are open, over the ops that flow into them."""
        prepared, scene = self._prepared, self._prepared.scene
        for row in np.flatnonzero(prepared.is_engine_node & scene.is_open).tolist():
            item = int(scene.items[row])
            node = prepared.look.engine_nodes.get(item)
            rect = boxes.rect(row)
            if not node or not rect.intersects(view.rect):
                continue
            painter.save()
            painter.setOpacity(painter.opacity() * min(1.0, view.morph * 1.1))
            middle = self._paint_block(painter, rect, node, view.scale)
            painter.setOpacity(max(0.0, min(1.0, (view.morph - _ARRIVED) / 0.4)))
            if view.morph > _ARRIVED:
                if rect.height() > 60:
                    self._paint_shadows(painter, item, rect, node.color, view.scale)
                self._paint_words(painter, node, rect.intersected(view.rect.adjusted(8, 8, -8, -8)), middle)
            painter.restore()

    def paint_closed(self, painter: QPainter, rect: QRectF, node: EngineNode, scale: float) -> None:
        """Paints one whose segment is closed."""
        painter.save()
        self._paint_block(painter, rect, node, scale)
        painter.setOpacity(1.0)
        self._paint_words(painter, node, rect, None)
        painter.restore()

    def _paint_block(self, painter: QPainter, rect: QRectF, node: EngineNode, scale: float) -> QColor:
        """Paints the block itself; returns the colour in its middle."""
        colors = theme.current()
        panel = colors.color("panel")
        base_share, deep_share = (0.70, 0.80) if colors.dark else (0.80, 0.68)
        base, deep = mix(node.color, panel, base_share), mix(node.color, panel, deep_share)
        gradient = QLinearGradient(rect.topLeft(), rect.bottomRight())
        gradient.setColorAt(0, base)
        gradient.setColorAt(1, deep)
        radius = min(16.0, 14 * scale + 2, rect.height() / 2)
        style = Qt.PenStyle.DashLine if node.dashed else Qt.PenStyle.SolidLine
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(QBrush(gradient))
        painter.setPen(QPen(node.color, 2 if rect.height() > 12 else 1, style))
        painter.drawRoundedRect(rect, radius, radius)
        return mix(base, deep, 0.5)

    def _paint_words(self, painter: QPainter, node: EngineNode, shown: QRectF, back: QColor | None) -> None:
        """Paints name and lines into the middle of what is shown, on a plate of the colour `back`, if there is room."""
        if shown.height() <= 15 or shown.width() <= 46:
            return
        room = shown.width() - 10
        largest = 20 if shown.height() > 90 else 14
        px = int(max(9, min(largest, shown.height() * 0.36)))
        while px > 8 and metrics(px, True).horizontalAdvance(node.title) > room:
            px -= 1
        small = max(8, min(14, round(px * 0.8)))
        title = node.title
        if metrics(px, True).horizontalAdvance(title) > room:
            title = title.partition(" · ")[0]  # the engine alone
        shaped = [(self._texts.shape(title, px, True, room), font(px, True))]
        for words in node.lines:
            size = small
            while size > 8 and metrics(size, False).horizontalAdvance(words) > room:
                size -= 1
            if metrics(size, False).horizontalAdvance(words) <= room:
                shaped.append((self._texts.shape(words, size, False, room), font(size, False)))
        total = sum(line.height for line, _ in shaped)
        while len(shaped) > 1 and total + 6 > shown.height():
            total -= shaped.pop()[0].height
        middle = shown.center()
        if back is not None and shown.height() > 60:
            widest = min(room + 8, max(line.width for line, _ in shaped) + 20)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(back)
            tall = min(total + 16, shown.height() - 8)
            painter.drawRoundedRect(QRectF(middle.x() - widest / 2, middle.y() - tall / 2, widest, tall), 8, 8)
        top = middle.y() - total / 2
        for line, line_font in shaped:
            painter.setFont(line_font)
            painter.setPen(theme.current().color("text"))
            painter.drawStaticText(QPointF(middle.x() - line.width / 2, top), line.text)
            top += line.height

    def _paint_shadows(self, painter: QPainter, item: int, rect: QRectF, color: QColor, scale: float) -> None:
        """Paints what went into the engine node, as faint shadows where it was."""
        prepared, scene = self._prepared, self._prepared.scene
        rows = np.flatnonzero((prepared.segment == item) & ~prepared.is_engine_node & ~scene.is_open)
        if not len(rows) or len(rows) > _MOST_SHADOWS:
            return
        origin = scene.boxes[scene.row(item)]
        factor = rect.width() / origin[2] if origin[2] else 1.0
        shade = QColor(color)
        shade.setAlphaF(0.16)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade)
        shadows = [
            QRectF(
                rect.left() + (bx - origin[0]) * factor,
                rect.top() + (by - origin[1]) * factor,
                bw * factor,
                bh * factor,
            )
            for bx, by, bw, bh in scene.boxes[rows].tolist()
        ]
        if len(shadows) < 400:
            for shadow in shadows:
                painter.drawRoundedRect(shadow, 4 * scale + 1, 4 * scale + 1)
        else:
            painter.drawRects(shadows)
