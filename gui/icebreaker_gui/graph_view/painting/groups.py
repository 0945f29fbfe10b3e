"""Open groups: frames around their members, and their names, which stay in sight while the group fills the view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QStaticText

from icebreaker_gui.graph_view.painting.look import EngineNode
from icebreaker_gui.graph_view.painting.prepared import Prepared
from icebreaker_gui.graph_view.painting.shapes import paint_open_mark
from icebreaker_gui.graph_view.painting.text import Texts, font, metrics
from icebreaker_gui.graph_view.painting.view import ONE_LINE, Boxes, View
from icebreaker_gui.style import theme

_MARK = 0.95  # width of the mark of an open group, as a share of the name's height
_MOST_SMALL = 60  # more small groups than this are painted a call a level of nesting


@dataclass(frozen=True)
class _Title:
    """A group's name on its plate.

    Attributes:
        text: The name.
        px: Height of its font.
        plate: Where it is.
        back: The plate's colour.
        ink: The name's.
        opacity: Of all.
        marked: True if the mark of an open group stands before the name.
        held: True if it is kept in sight, not at the group's top.
    """

    text: QStaticText
    px: int
    plate: QRectF
    back: QColor
    ink: QColor
    opacity: float
    marked: bool
    held: bool


class GroupPainter:
    """Paints open groups, except for what is in them."""

    def __init__(self, prepared: Prepared, texts: Texts) -> None:
        self._prepared, self._texts = prepared, texts

    def paint_frames(self, painter: QPainter, rows: np.ndarray, view: View, boxes: Boxes) -> None:
        """Paints the frames of the open groups in these rows, outer groups first."""
        colors = theme.current()
        prepared, scene = self._prepared, self._prepared.scene
        opacities = np.where(prepared.in_segment, max(0.0, 1 - 2 * view.morph), 1.0)
        line = colors.color("border")
        fills = (colors.color("group"), colors.color("panel"))
        is_small = np.minimum(boxes.w[rows], boxes.h[rows]) < 16
        small = rows[is_small & (opacities[rows] >= 1) & ~prepared.is_engine_node[rows]]
        if len(small) > _MOST_SMALL:
            rows = np.setdiff1d(rows, small)
            self._paint_small(painter, small, boxes, fills, line)
        radius = min(10.0, 10.0 * view.scale + 2)
        for row in rows.tolist():
            node = prepared.look.engine_nodes.get(int(scene.items[row]))
            painter.setOpacity(float(opacities[row]))
            if node:
                if view.morph >= 1:
                    continue
                tint = QColor(node.color)
                tint.setAlphaF(0.07 if colors.dark else 0.06)
                painter.setBrush(tint)
                painter.setPen(QPen(node.color, 1.4, Qt.PenStyle.DashLine if node.dashed else Qt.PenStyle.SolidLine))
            else:
                painter.setBrush(fills[scene.nesting[row] % 2])
                painter.setPen(QPen(line, 1))
            painter.drawRoundedRect(boxes.rect(row), radius, radius)
            painter.setOpacity(1.0)

    def _paint_small(
        self, painter: QPainter, rows: np.ndarray, boxes: Boxes, fills: tuple[QColor, QColor], line: QColor
    ) -> None:
        """Open groups of a few pixels: a call a level of nesting."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        rows = rows[np.maximum(boxes.w[rows], boxes.h[rows]) > 3]
        level = self._prepared.scene.nesting[rows]
        for depth in np.unique(level).tolist():
            chosen = rows[level == depth]
            painter.setBrush(fills[depth % 2])
            painter.setPen(QPen(line, 0) if float(boxes.w[chosen].max()) > 5 else Qt.PenStyle.NoPen)
            painter.drawRects(boxes.rects(chosen))
        painter.restore()

    def paint_titles(self, painter: QPainter, rows: np.ndarray, view: View, boxes: Boxes) -> None:
        """Paints the names of the open groups in these rows, over the edges that enter there."""
        if view.leaf < ONE_LINE - 2:
            return
        titles = [title for row in rows.tolist() if (title := self._title(row, boxes.rect(row), view))]
        held = [title.plate for title in titles if title.held]
        for title in titles:
            plate = title.plate
            if not title.held and any(plate.intersects(other) for other in held):
                continue  # what stays in sight counts more
            painter.setOpacity(title.opacity)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(title.back)
            painter.drawRoundedRect(plate, 4, 4)
            painter.setPen(title.ink)
            painter.setFont(font(title.px, True))
            left = plate.left() + 3
            if title.marked:
                at = QPointF(left + title.px * 0.3, plate.center().y())
                paint_open_mark(painter, at, title.px * 0.28, title.ink)
                left += title.px * _MARK
            painter.drawStaticText(QPointF(left, plate.top() + 1), title.text)
        painter.setOpacity(1.0)

    def _title(self, row: int, rect: QRectF, view: View) -> _Title | None:
        """The name of the open group in a row, whose box is `rect`; None where it is not to be seen."""
        colors = theme.current()
        prepared, scene = self._prepared, self._prepared.scene
        item = int(scene.items[row])
        node = prepared.look.engine_nodes.get(item)
        opacity = self._title_opacity(row, node, view.morph)
        if opacity <= 0:
            return None
        px = max(9, min(13, round(12 * view.scale)))
        name = node.title if node else scene.outline.labels[item]
        left = rect.left() + max(5.0, 11 * view.scale)
        wide = metrics(px, True).horizontalAdvance(name)
        # Where the name needs the room, the mark goes: that a group is open can be seen.
        mark = px * _MARK if wide + px * _MARK < rect.right() - left - 4 else 0.0
        room = rect.right() - left - mark - 4
        if node and wide > room:
            name = name.partition(" · ")[0]
        if room < 20:
            return None
        text, width, height = self._texts.shape(name, px, True, room)
        # The title of a group that fills the view stays in sight, below those around it.
        below = 2.0 + 17 * int(scene.nesting[row])
        top = max(rect.top(), below) if below < 60 and rect.bottom() - below > 220 else rect.top()
        plate = QRectF(
            left - 3, top + max(3.0, (28 * view.scale - height) / 2) - 1, width + mark + 6, height + 2
        )  # fmt: skip
        back = colors.color("group" if scene.nesting[row] % 2 == 0 or node else "panel", 0.85)
        ink = node.color if node else colors.color("muted")
        return _Title(text, px, plate, back, ink, opacity, mark > 0, top > rect.top())

    def _title_opacity(self, row: int, node: EngineNode | None, morph: float) -> float:
        if node and morph >= 1:
            return 0.0
        if self._prepared.in_segment[row]:
            return max(0.0, 1 - 2 * morph)
        return 1.0 - morph if node else 1.0
