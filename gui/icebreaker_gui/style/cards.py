"""Cards: parts of a form that fold to one line, which tells the value of what is in them."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QFrame, QSizePolicy, QVBoxLayout, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Section

_HEAD = 40
_DOT = 7.0


class CardHead(QAbstractButton):
    """A card's one line: its title, a dot if something was changed in it, its value, and which way it opens."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title, self.value, self.changed = title, "", False
        self.setCheckable(True)
        self.setFixedHeight(_HEAD)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(160, _HEAD)

    def tell(self, value: str, changed: bool) -> None:
        """Shows the value of what is in the card, and whether the user has changed something of it."""
        self.value, self.changed = value, changed
        words = f"{self.title}: {value}"
        self.setAccessibleName(words + (self.tr(", changed") if changed else ""))
        self.setToolTip(tip(words + ("\n" + self.tr("changed by you") if changed else "")))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints the line."""
        painter, colors = QPainter(self), theme.current()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self.underMouse() and self.isEnabled():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colors.color("accent_soft", 0.5))
            painter.drawRoundedRect(box, theme.RADIUS, theme.RADIUS)
        if self.hasFocus():
            painter.setPen(colors.color("accent"))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box, theme.RADIUS, theme.RADIUS)
        painter.setFont(theme.font(bold=True))
        painter.setPen(colors.color("text" if self.isEnabled() else "faint"))
        wide, left = painter.fontMetrics().horizontalAdvance(self.title), 12.0
        side = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(left, 0, wide + 2, self.height()), side, self.title)
        left += wide + 8
        if self.changed:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colors.color("accent"))
            painter.drawEllipse(QRectF(left, (self.height() - _DOT) / 2, _DOT, _DOT))
            left += _DOT + 8
        right = self.width() - 26.0
        painter.setFont(theme.font())
        painter.setPen(colors.color("muted" if self.isEnabled() else "faint"))
        room = max(0, int(right - left - 4))
        shown = painter.fontMetrics().elidedText(self.value, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRectF(left, 0, right - left, self.height()), side | Qt.AlignmentFlag.AlignRight, shown)
        mark = QRectF(right, 0, 20, self.height())
        painter.drawText(mark, Qt.AlignmentFlag.AlignCenter, "▾" if self.isChecked() else "›")


class Card(QFrame):
    """A part of a form under its head; folded, its head alone is seen.

    Attributes:
        head: Its line.
    """

    opened = Signal()

    def __init__(self, title: str, *parts: QWidget) -> None:
        """Folded at first.

        Args:
            title: What it is about.
            parts: What is in it; a section of the same title need not repeat it.
        """
        super().__init__()
        self.setProperty("look", "card")
        self.head = CardHead(title)
        self._body = QWidget()
        column = QVBoxLayout(self._body)
        column.setContentsMargins(12, 0, 12, 12)
        column.setSpacing(12)
        for part in parts:
            if isinstance(part, Section):
                part.untitle(title)
            column.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.head)
        layout.addWidget(self._body)
        self._body.hide()
        self.head.toggled.connect(self._toggle)

    @property
    def is_open(self) -> bool:
        """True while what is in it can be seen."""
        return self.head.isChecked()

    def open(self, on: bool = True) -> None:
        """Opens or folds it."""
        self.head.setChecked(on)

    def _toggle(self, on: bool) -> None:
        self._body.setVisible(on)
        if on:
            self.opened.emit()
