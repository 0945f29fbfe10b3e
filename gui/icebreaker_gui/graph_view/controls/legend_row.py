"""The row below the graph that says what its colours mean."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from icebreaker_gui.graph_view.painting.legend import LegendEntry, paint_swatch
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip

_MOST_LINES = 2
_SWATCH, _GAP = 11.0, 18.0


class LegendRow(QWidget):
    """Title and entries side by side, in as many lines as they need but two at most; the tool tip has all.

    Attributes:
        title: What is coloured.
        legend: The entries.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = ""
        self.legend: Sequence[LegendEntry] = ()
        self._placed: list[tuple[QRectF, LegendEntry | None]] = []
        self._hidden = 0
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_legend(self, title: str, legend: Sequence[LegendEntry]) -> None:
        """Says what colours mean; nothing where there are none."""
        self.title, self.legend = title, legend
        words = [f"{entry.words}: {entry.number:,}" if entry.number else entry.words for entry in legend]
        self.setToolTip(tip("\n".join((title, *words))) if legend else "")
        self.setAccessibleName(f"{title}: {', '.join(words)}")
        self._place()

    def sizeHint(self) -> QSize:
        """Takes the width that there is."""
        return QSize(100, self.minimumHeight())

    def _line(self) -> int:
        return self.fontMetrics().height() + 4

    def _place(self) -> None:
        """Puts the entries one after the other, and takes the height that they need."""
        self._placed, self._hidden = [], 0
        measure, line, right = self.fontMetrics(), self._line(), self.width() - theme.LARGE
        left, top = float(theme.LARGE), float(theme.SMALL)
        shown = [entry for entry in self.legend if entry.color.alpha()]  # remarks are in the tool tip
        for entry in (None, *shown) if shown else ():
            if entry is None:
                wide = measure.horizontalAdvance(self.title) + 4.0
            else:
                wide = measure.horizontalAdvance(_words(entry)) + _SWATCH + 10.0
            if left + wide > right and left > theme.LARGE:
                left, top = float(theme.LARGE), top + line
            if top > theme.SMALL + line * (_MOST_LINES - 1) + 1:
                self._hidden += 1
                continue
            self._placed.append((QRectF(left, top, min(wide, right - left), line), entry))
            left += wide + _GAP
        tall = self._placed[-1][0].bottom() + theme.SMALL if self._placed else 0
        self.setFixedHeight(int(tall))
        self.setVisible(bool(self._placed))
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fits what depends on the size."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._place()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._place()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints what was placed."""
        painter = QPainter(self)
        colors = theme.current()
        painter.fillRect(self.rect(), colors.color("panel"))
        painter.fillRect(QRectF(0, 0, self.width(), 1), colors.color("border"))
        middle = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        for box, entry in self._placed:
            if entry is None:
                painter.setPen(colors.color("muted"))
                painter.drawText(box, middle, self.title)
                continue
            square = QRectF(box.left(), box.center().y() - _SWATCH / 2, _SWATCH, _SWATCH)
            paint_swatch(painter, square, entry.color, entry.pattern)
            left = square.right() + 6
            painter.setPen(colors.color("text"))
            room = QRectF(left, box.top(), box.right() - left, box.height())
            painter.drawText(room, middle, painter.fontMetrics().elidedText(
                _words(entry), Qt.TextElideMode.ElideRight, int(room.width()) + 1
            ))  # fmt: skip
        if self._hidden and self._placed:
            last = self._placed[-1][0]
            painter.setPen(colors.color("muted"))
            painter.drawText(QRectF(last.right() + 4, last.top(), 40, last.height()), middle, f"+{self._hidden}")


def _words(entry: LegendEntry) -> str:
    return f"{entry.words}  {entry.number:,}" if entry.number else entry.words
