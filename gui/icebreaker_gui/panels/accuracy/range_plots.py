"""Drawings of the numbers that types can hold, and of those that a tensor has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from PySide6.QtCore import QEvent, QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from icebreaker.reports import TensorRange
from icebreaker_gui.style import formatting, theme

# |x| that a type can hold: the smallest above 0 and the largest, and both in words.
TYPES: Mapping[str, tuple[float, float, str]] = {
    "FP32": (1.4e-45, 3.4e38, "±3.4e38 · 1.4e-45"),
    "FP16": (5.96e-8, 65504.0, "±65504 · 5.96e-8"),
    "INT8": (1.0, 128.0, "−128..127 · 1"),
}
_DECADES = (-46.0, 40.0)


class Scale(QWidget):
    """The magnitudes from 1e-46 to 1e40, a bar for each type, and one for INT8 scaled to the chosen tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._tensor: TensorRange | None = None
        self.setMinimumHeight(110)

    def show_tensor(self, tensor: TensorRange | None) -> None:
        """Draws the scale of a tensor, or without one."""
        self._tensor = tensor
        self.update()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the bars, the axis below them, and the threshold through all of them."""
        look, tensor = theme.current(), self._tensor
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        bars = [(name, low, high, words, "faint") for name, (low, high, words) in TYPES.items()]
        if tensor:
            words = f"±{tensor.threshold:.3g} · {tensor.threshold / 127:.2g}"
            bars.append((self.tr("INT8, scaled"), tensor.threshold / 127, tensor.threshold, words, "optimized"))
        left = max(metrics.horizontalAdvance(name) for name, *_ in bars) + theme.SPACE
        right = max(metrics.horizontalAdvance(words) for *_, words, _ in bars) + theme.LARGE
        width, axis = self.width() - left - right, metrics.height() + theme.SPACE
        height = min(36.0, (self.height() - axis) / len(bars))

        def x(value: float) -> float:
            return left + (math.log10(value) - _DECADES[0]) / (_DECADES[1] - _DECADES[0]) * width

        bottom = height * len(bars)
        for decade in range(-40, 41, 10):
            at = x(10.0**decade)
            painter.setPen(QPen(look.color("grid"), 1))
            painter.drawLine(round(at), 0, round(at), round(bottom))
            painter.setPen(look.color("muted"))
            text = f"1e{decade}" if decade else "1"
            painter.drawText(QRectF(at - 30, bottom + 2, 60, axis), Qt.AlignmentFlag.AlignHCenter, text)
        middle, thick = Qt.AlignmentFlag.AlignVCenter, min(16.0, height * 0.55)
        for row, (name, low, high, words, color) in enumerate(bars):
            top = row * height
            painter.setPen(look.color("text"))
            painter.drawText(QRectF(0, top, left, height), middle | Qt.AlignmentFlag.AlignLeft, name)
            painter.setPen(look.color("muted"))
            painter.drawText(QRectF(left + width, top, right, height), middle | Qt.AlignmentFlag.AlignRight, words)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(look.color(color))
            bar = QRectF(x(low), top + (height - thick) / 2, max(4.0, x(high) - x(low)), thick)
            painter.drawRoundedRect(bar, 3, 3)
        if tensor:
            at = x(tensor.threshold)
            painter.setPen(QPen(look.color("original"), 2, Qt.PenStyle.DashLine))
            painter.drawLine(round(at), 0, round(at), round(bottom))
        self.setAccessibleName(" · ".join(f"{name} {words}" for name, _, _, words, _ in bars))


class Histogram(QWidget):
    """How often a tensor's magnitudes came by on held-back data, up to its threshold, and what is clipped beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self._tensor: TensorRange | None = None

    def show_tensor(self, tensor: TensorRange | None) -> None:
        """Draws the values of a tensor; hidden where none were counted."""
        self._tensor = tensor if tensor and any(tensor.counts) else None
        self.setVisible(self._tensor is not None)
        self.update()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the bars, in a logarithmic scale, and the threshold."""
        if self._tensor is None:
            return
        look, tensor = theme.current(), self._tensor
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = painter.fontMetrics().height()
        step = tensor.span / len(tensor.counts)
        last = max(index for index, count in enumerate(tensor.counts) if count)
        end = max((last + 1) * step, tensor.threshold) * 1.04
        top, bottom = line + theme.SMALL, self.height() - line - theme.SMALL
        scale = (bottom - top) / math.log1p(max(tensor.counts))

        def x(value: float) -> float:
            return value / end * (self.width() - 1)

        beyond = sum(count for index, count in enumerate(tensor.counts) if index * step >= tensor.threshold)
        share = formatting.percent(beyond / sum(tensor.counts))
        words = self.tr("|x| on held-back data, logarithmic · {share} clipped").format(share=share)
        painter.setPen(look.color("muted"))
        whole = QRectF(0, 0, self.width(), line)
        painter.drawText(whole, Qt.AlignmentFlag.AlignLeft, painter.fontMetrics().elidedText(
            words, Qt.TextElideMode.ElideRight, self.width()
        ))  # fmt: skip
        painter.setPen(Qt.PenStyle.NoPen)
        for index, count in enumerate(tensor.counts[: last + 1]):
            clipped = index * step >= tensor.threshold
            painter.setBrush(look.color("original" if clipped else "optimized"))
            tall = math.log1p(count) * scale
            painter.drawRect(QRectF(x(index * step), bottom - tall, max(1.0, x(step) - 1), tall))
        painter.setPen(QPen(look.color("border"), 1))
        painter.drawLine(0, round(bottom), self.width(), round(bottom))
        at = x(tensor.threshold)
        painter.setPen(QPen(look.color("original"), 2, Qt.PenStyle.DashLine))
        painter.drawLine(round(at), round(top), round(at), round(bottom))
        painter.setPen(look.color("muted"))
        foot = QRectF(0, bottom + 2, self.width(), line)
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, "0")
        label = f"{tensor.threshold:.3g}"
        wide = painter.fontMetrics().horizontalAdvance(label)
        left = min(max(0.0, at - wide / 2), self.width() - wide)
        painter.drawText(QRectF(left, bottom + 2, wide + 2, line), Qt.AlignmentFlag.AlignLeft, label)
        self.setAccessibleName(words)
