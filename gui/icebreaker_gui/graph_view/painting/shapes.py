"""Small shapes and mixed colours that several painters use."""

from __future__ import annotations

import itertools

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF


def mix(a: QColor, b: QColor, share: float) -> QColor:
    """`share` of b, the rest a."""
    return QColor.fromRgbF(
        a.redF() + (b.redF() - a.redF()) * share,
        a.greenF() + (b.greenF() - a.greenF()) * share,
        a.blueF() + (b.blueF() - a.blueF()) * share,
    )


def curve(points: np.ndarray, sideways: bool) -> QPainterPath:
    """The path of an edge through its points, [n, 2], bent between those that are not in line."""
    values = points.tolist()
    path = QPainterPath(QPointF(*values[0]))
    for (ax, ay), (bx, by) in itertools.pairwise(values):
        if abs(ay - by if sideways else ax - bx) < 0.6:
            path.lineTo(bx, by)
        elif sideways:
            middle = (ax + bx) / 2
            path.cubicTo(middle, ay, middle, by, bx, by)
        else:
            middle = (ay + by) / 2
            path.cubicTo(ax, middle, bx, middle, bx, by)
    return path


def arrow(x: float, y: float, sideways: bool) -> QPolygonF:
    """The head of an edge that ends at x, y."""
    if sideways:
        return QPolygonF([QPointF(x, y), QPointF(x - 7, y - 3.4), QPointF(x - 7, y + 3.4)])
    return QPolygonF([QPointF(x, y), QPointF(x - 3.4, y - 7), QPointF(x + 3.4, y - 7)])


def paint_open_mark(painter: QPainter, at: QPointF, size: float, color: QColor) -> None:
    """Paints the mark of an open group: a chevron that points down, `at` in its middle."""
    painter.save()
    painter.setPen(QPen(color, max(1.2, size * 0.5), Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    painter.drawPolyline([at + QPointF(-size, -size / 2), at + QPointF(0, size / 2), at + QPointF(size, -size / 2)])
    painter.restore()
