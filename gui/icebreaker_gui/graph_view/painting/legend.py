"""The legend of what colours mean, and the squares that show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QIcon, QPainter, QPen, QPixmap

from icebreaker_gui.style import theme


class LegendEntry(NamedTuple):
    """One line of a legend: a colour with its pattern, what it means, and how often it is seen (0: not told)."""

    words: str
    color: QColor
    pattern: Qt.BrushStyle = Qt.BrushStyle.SolidPattern
    number: int = 0


def swatch(color: QColor, pattern: Qt.BrushStyle, size: int = 14) -> QIcon:
    """A square of a colour and its pattern."""
    pixmap = QPixmap(size * 2, size * 2)
    pixmap.setDevicePixelRatio(2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    paint_swatch(painter, QRectF(0.5, 0.5, size - 1, size - 1), color, pattern)
    painter.end()
    return QIcon(pixmap)


def paint_swatch(painter: QPainter, rect: QRectF, color: QColor, pattern: Qt.BrushStyle) -> None:
    """Paints such a square."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    soft = QColor(color)
    plain = pattern == Qt.BrushStyle.SolidPattern
    soft.setAlphaF(1.0 if plain else 0.3)
    painter.setPen(QPen(color, 1))
    painter.setBrush(soft)
    painter.drawRoundedRect(rect, 3, 3)
    if not plain:
        painter.setBrush(QBrush(color, pattern))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawRoundedRect(rect, 3, 3)


def legend_size(painter: QPainter, legend: Sequence[LegendEntry]) -> tuple[float, float]:
    """Width and height that a legend takes."""
    if not legend:
        return 0.0, 0.0
    painter.setFont(theme.font(0.88))
    metrics = painter.fontMetrics()
    widest = max(metrics.horizontalAdvance(_words(entry)) for entry in legend)
    return widest + 42.0, len(legend) * (metrics.height() + 3) + 12.0


def _words(entry: LegendEntry) -> str:
    return f"{entry.words}   {entry.number:,}" if entry.number else entry.words


def paint_legend(painter: QPainter, legend: Sequence[LegendEntry], room: QRectF) -> None:
    """Paints a legend into the lower left corner of `room`."""
    if not legend:
        return
    colors = theme.current()
    wide, tall = legend_size(painter, legend)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setFont(theme.font(0.88))
    line = painter.fontMetrics().height() + 3
    box = QRectF(room.left(), room.bottom() - tall, wide, tall)
    painter.setPen(QPen(colors.color("border"), 1))
    painter.setBrush(colors.color("window", 0.94))
    painter.drawRoundedRect(box, 6, 6)
    y = box.top() + 6
    for entry in legend:
        if entry.color.alpha():
            swatch = QRectF(box.left() + 10, y + line / 2 - 5, 10, 10)
            paint_swatch(painter, swatch, QColor(entry.color), entry.pattern)
        painter.setPen(colors.color("text"))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        left = box.left() + (28 if entry.color.alpha() else 10)
        painter.drawText(QRectF(left, y, wide, line), Qt.AlignmentFlag.AlignVCenter, entry.words)
        if entry.number:
            painter.setPen(colors.color("muted"))
            painter.drawText(
                QRectF(box.left(), y, wide - 10, line),
                Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, f"{entry.number:,}",
            )  # fmt: skip
        y += line
