"""Small widgets that several panels are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, QTimer
from PySide6.QtGui import QHideEvent, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip

_FRAME_MILLISECONDS = 33
_BREAK = "\u200b"  # zero wide: a line may end here


def label(text: str = "", look: str = "", wrap: bool = False, select: bool = False) -> QLabel:
    """A line of text; `look` is title, muted, finding, warning or error, `select` lets the user copy it."""
    result = QLabel(text)
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setProperty("look", look)
    result.setWordWrap(wrap)
    if select:
        result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return result


def breakable(text: str, longest: int = 24) -> str:
    """Lets words of more than so many letters wrap, after their separators first: else they widen what they are in."""

    def parted(word: re.Match[str]) -> str:
        parts = re.sub(r"([/_.-])(?=\w)", f"\\1{_BREAK}", word[0])
        return re.sub(rf"([^{_BREAK}]{{{longest}}})(?=[^{_BREAK}])", f"\\1{_BREAK}", parts)

    return re.sub(rf"\S{{{longest + 1},}}", parted, text)


def set_look(widget: QWidget, look: str) -> None:
    """Gives a widget another look of the style sheet."""
    if widget.property("look") != look:
        widget.setProperty("look", look)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def button(text: str, tip: str = "", look: str = "", large: bool = False) -> QPushButton:
    """A push button; `look` is primary, link or empty."""
    result = QPushButton(text)
    result.setProperty("look", look)
    result.setProperty("large", large)  # not setMinimumHeight: the style sheet's overrides it
    result.setToolTip(tip)
    return result


class _Calm(QObject):
    """Keeps the wheel from changing what has not got the focus: there it scrolls the form that the widget is in."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()  # so that it goes on to what scrolls
            return True
        return False


_Control = TypeVar("_Control", bound=QWidget)


def calm(control: _Control) -> _Control:
    """Lets the wheel change a number, list or slider only once it was clicked or tabbed to."""
    control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    control.installEventFilter(_Calm(control))
    return control


def number(least: int, most: int, value: int, tip: str) -> QSpinBox:
    """A whole number to choose."""
    result = calm(QSpinBox())
    result.setRange(least, most)
    result.setValue(value)
    result.setToolTip(tip)
    result.lineEdit().setTextMargins(theme.SPACE, 0, 0, 0)  # the style sheet's padding does not reach it
    return result


def form_grid(rows: Sequence[tuple[str, QWidget]], field_width: int) -> tuple[QGridLayout, list[QLabel]]:
    """A grid with fields of one width on the right and labels, with the same tool tips, on the left; and the labels."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(theme.SPACE)
    grid.setVerticalSpacing(theme.SMALL)
    grid.setColumnStretch(0, 1)
    names = []
    for row, (text, field) in enumerate(rows):
        name = label(text)
        name.setBuddy(field)
        name.setToolTip(field.toolTip())
        field.setFixedWidth(field_width)
        grid.addWidget(name, row, 0)
        grid.addWidget(field, row, 1)
        names.append(name)
    return grid, names


class Elided(QWidget):
    """One line of text that is shortened in its middle where it does not fit; the tool tip has all of it."""

    def __init__(self, text: str = "", color: str = "text", bold: bool = False) -> None:
        super().__init__()
        self.setProperty("look", color)
        self._bold = bold
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def text(self) -> str:
        """The whole text."""
        return self._text

    def setText(self, text: str, color: str = "") -> None:
        """Changes the text, and its colour if one is named."""
        self._text = text
        if color:
            self.setProperty("look", color)
        self.setToolTip(tip(text))
        self.setAccessibleName(text)
        self.setFixedHeight(self.fontMetrics().height() + theme.SMALL)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws as much of the text as fits."""
        painter = QPainter(self)
        painter.setFont(theme.font(bold=self._bold))
        painter.setPen(theme.current().color(self.property("look")))
        shown = painter.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideMiddle, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)


class Progress(QWidget):
    """A thin bar of progress; a piece that wanders where nobody knows how far it is.

    Not a QProgressBar: that one repaints the window at once whenever its value changes, instead of in the next frame.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fraction: float | None = 0.0
        self._at = 0.0
        self._timer = QTimer(self, interval=_FRAME_MILLISECONDS)
        self._timer.timeout.connect(self._wander)
        self.setFixedHeight(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_fraction(self, fraction: float | None) -> None:
        """Shows a share from 0 to 1, or that it is unknown."""
        self._fraction = fraction
        words = "" if fraction is None else formatting.percent(fraction)
        self.setAccessibleName(words)
        self.setToolTip(words)
        self._run()
        self.update()

    def _run(self) -> None:
        if self._fraction is None and self.isVisible():
            self._timer.start()
        else:
            self._timer.stop()

    def _wander(self) -> None:
        self._at = (self._at + 0.02) % 1.3
        self.update()

    def showEvent(self, event: QShowEvent) -> None:
        """Wanders only while it is seen."""
        super().showEvent(event)
        self._run()

    def hideEvent(self, event: QHideEvent) -> None:
        """Keeps no timer running while nobody sees it."""
        super().hideEvent(event)
        self._run()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the groove and what is done of it."""
        look, width, height = theme.current(), self.width(), self.height()
        done = (0.0, self._fraction) if self._fraction is not None else (max(0.0, self._at - 0.3), min(1.0, self._at))
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        for color, (begin, end) in (("border", (0.0, 1.0)), ("accent", done)):
            painter.setBrush(look.color(color))
            painter.drawRoundedRect(QRectF(begin * width, 0, (end - begin) * width, height), height / 2, height / 2)


class Section(QWidget):
    """A group of a form, with a title and a remark at its right unless what is in it has its own."""

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.body = QVBoxLayout()
        self.body.setSpacing(theme.SMALL)
        self.remark = label(look="muted")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SMALL)
        if title:
            head = QHBoxLayout()
            head.addWidget(label(title, "title"))
            head.addStretch()
            head.addWidget(self.remark)
            layout.addLayout(head)
        layout.addLayout(self.body)


def clear(layout: QLayout) -> None:
    """Empties a layout, and deletes what was in it."""
    for index in reversed(range(layout.count())):
        item = layout.itemAt(index)
        if item and (widget := item.widget()):
            layout.removeWidget(widget)  # the items that takeAt gives are never deleted
            widget.deleteLater()
        else:
            layout.takeAt(index)


class Table(QTableWidget):
    """Rows of figures to read and copy, not to edit."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names differ at their ends
        self.setTabKeyNavigation(False)  # Tab leads on, arrows go from cell to cell
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(theme.CONTROL_HEIGHT - theme.SMALL)
        self.horizontalHeader().setHighlightSections(False)

    def fill(self, headers: Sequence[str], rows: Sequence[Sequence[str]], tips: Sequence[str] = ()) -> None:
        """Replaces all that is shown; the first column is words, the others are figures, aligned right.

        Args:
            headers: Titles of the columns.
            rows: Their texts.
            tips: A tool tip for each row.
        """
        self.setColumnCount(len(headers))
        self.setRowCount(len(rows))
        left, right = (
            side | Qt.AlignmentFlag.AlignVCenter for side in (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight)
        )
        for column, text in enumerate(headers):
            head = QTableWidgetItem(text)
            head.setTextAlignment(right if column else left)
            self.setHorizontalHeaderItem(column, head)
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(right)
                if row < len(tips):
                    item.setToolTip(tip(tips[row]))
                self.setItem(row, column, item)
        self.resizeColumnsToContents()
        if headers:
            self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            self.horizontalHeader().setMinimumSectionSize(60)
