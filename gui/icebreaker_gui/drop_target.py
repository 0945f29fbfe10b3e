"""What is seen while a file is dragged over the window: where to drop it, and what happens then."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from icebreaker_gui.style import theme


class DropTarget(QWidget):
    """A veil over the window with a frame and a word; it takes no events."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._name = ""
        self.hide()

    def offer(self, name: str) -> None:
        """Shows that a file of this name would be opened."""
        self._name = name
        self.setAccessibleName(self.tr("Drop to open {name}").format(name=name))
        window = self.parentWidget()
        if window:
            self.setGeometry(window.rect())
        self.raise_()
        self.show()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints veil, frame and words."""
        look = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), look.color("window", 0.82))
        frame = QRectF(self.rect()).adjusted(theme.HUGE, theme.HUGE, -theme.HUGE, -theme.HUGE)
        painter.setPen(QPen(look.color("accent"), 3, Qt.PenStyle.DashLine))
        painter.setBrush(look.color("accent_soft", 0.5))
        painter.drawRoundedRect(frame, theme.LARGE, theme.LARGE)
        painter.setPen(look.color("text"))
        painter.setFont(theme.font(1.6, bold=True))
        words = self.tr("Drop to open {name}").format(name=self._name)
        shown = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideMiddle, int(frame.width()) - theme.HUGE)
        painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, shown)
