"""The card beside the pointer: what it is over, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import breakable, label

_DELAY_MILLISECONDS = 250
_AWAY = 16  # from the pointer
_WIDTH = 320


class HoverCard(QFrame):
    """Appears where the pointer rests on something, and goes with it; the pointer never meets it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._room = parent
        self.setProperty("look", "hover")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._title = label(look="title", wrap=True)
        self._text = label(wrap=True)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(10, theme.SPACE, 10, theme.SPACE)
        self._column.setSpacing(theme.TINY)
        self._column.addWidget(self._title)
        self._column.addWidget(self._text)
        self._at = QPoint()
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MILLISECONDS)
        self._timer.timeout.connect(self._appear)
        self.hide()

    @property
    def words(self) -> str:
        """All that it says."""
        return f"{self._title.text()}\n{self._text.text()}".replace("\u200b", "")

    def tell(self, lines: Sequence[str], at: QPoint) -> None:
        """Says these lines, the first as a title, beside a point of the parent; none: it goes."""
        if not lines:
            self._timer.stop()
            self.hide()
            return
        self._title.setText(breakable(lines[0]))
        self._text.setText("\n".join(breakable(line) for line in lines[1:]))
        self._text.setVisible(len(lines) > 1)
        self._at = at
        if self.isVisible():
            self._appear()
        else:
            self._timer.start()

    def _appear(self) -> None:
        room = self._room
        margins = self._column.contentsMargins()
        inner = [self._title.fontMetrics().horizontalAdvance(part) for part in self.words.split("\n")]
        wide = min(max(inner, default=0) + margins.left() + margins.right() + 12, _WIDTH, room.width() - 2 * _AWAY)
        self.setFixedWidth(max(80, wide))
        self._column.activate()
        self.setFixedHeight(max(self._column.heightForWidth(self.width()), self._column.minimumSize().height()))
        x, y = self._at.x() + _AWAY, self._at.y() + _AWAY
        if x + self.width() > room.width() - 4:
            x = self._at.x() - _AWAY - self.width()
        if y + self.height() > room.height() - 4:
            y = self._at.y() - _AWAY - self.height()
        self.move(max(4, x), max(4, y))
        self.show()
        self.raise_()
