"""The trade-off between accuracy and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from icebreaker.reports import TradeOff
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import label


class Curve(QWidget):
    """Error against latency of each number of layers kept in higher precision, with the point that was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[TradeOff, ...] = ()
        self._used = False
        self._words = label(look="muted", wrap=True)
        self._item = pg.PlotItem()
        self._plot = pg.PlotWidget(plotItem=self._item)
        self._item.setMenuEnabled(False)
        self._item.hideButtons()
        self._box: Any = self._item.vb
        self._box.setMouseEnabled(x=False, y=False)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setMinimumHeight(60)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, 0, 0, 0)
        layout.setSpacing(theme.SMALL)
        layout.addWidget(self._words)
        layout.addWidget(self._plot, 1)
        layout.addStretch()

    def show_points(self, points: Sequence[TradeOff], used: bool) -> None:
        """Replaces the curve; `used`: the chosen point is what the segment became."""
        self._points, self._used = tuple(points), used
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme: plot items keep their pens."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_plot"):
            self._draw()

    def _draw(self) -> None:
        points, look = self._points, theme.current()
        self._plot.setVisible(bool(points))
        self._item.clear()
        if not points:
            self._words.setText(
                self.tr("Set an accuracy budget in Setup to see what each layer kept in 16 or 32 bits costs and gains.")
            )
            return
        timed = all(point.latency_ms is not None for point in points)
        across = [point.latency_ms if timed and point.latency_ms is not None else point.kept for point in points]
        up = [100 * point.error for point in points]
        self._plot.setBackground(look.color("panel"))
        self._item.showGrid(x=True, y=True, alpha=0.4)
        self._style_axis("bottom", self.tr("latency, ms") if timed else self.tr("layers kept in 16 or 32 bits"))
        self._style_axis("left", self.tr("error, %"))
        line = pg.mkPen(look.color("optimized", 0.6), width=2)
        self._item.addItem(
            pg.PlotDataItem(
                across, up, pen=line, symbol="o", symbolSize=7, symbolBrush=look.color("optimized"), symbolPen=None,
                antialias=True,
            )
        )  # fmt: skip
        chosen = next((index for index, point in enumerate(points) if point.chosen), None)
        if chosen is not None:
            ring = pg.mkPen(look.color("text"), width=2)
            self._item.addItem(pg.ScatterPlotItem([across[chosen]], [up[chosen]], size=15, brush=None, pen=ring))
        self._box.setXRange(min(across), max(across), padding=0.12)
        self._box.setYRange(0, 1.2 * max(up) or 1, padding=0.15)
        self._words.setText(
            self.tr("No point keeps the budget.") if chosen is None else self._described(points[chosen])
        )

    def _style_axis(self, side: str, text: str) -> None:
        look, axis = theme.current(), self._item.getAxis(side)
        axis.setLabel(text, siPrefixEnableRanges=())  # else what lies below 1 is shown a thousandfold
        axis.setPen(look.color("border"))
        axis.setTextPen(look.color("muted"))
        axis.label.setDefaultTextColor(look.color("muted"))

    def _described(self, point: TradeOff) -> str:
        """The chosen point in words."""
        one, many = self.tr("{n} layer kept in 16 or 32 bits"), self.tr("{n} layers kept in 16 or 32 bits")
        facts = [formatting.count(point.kept, one, many) if point.kept else self.tr("every layer in INT8")]
        if point.latency_ms is not None:
            facts.append(formatting.milliseconds(point.latency_ms))
        if point.disagreement is not None:
            share = formatting.percent(point.disagreement)
            facts.append(self.tr("{share} different top-1 answers").format(share=share))
        head = self.tr("Chosen") if self._used else self.tr("Best that was tried")
        return f"{head}: {' · '.join(facts)}"
