"""Fields that the parts of the form are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QGridLayout, QSizePolicy, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import calm, label


def combo(choices: Iterable[tuple[object, str]]) -> QComboBox:
    """A list of choices, each a value with its words, that a long word does not widen."""
    box = calm(QComboBox())
    for value, text in choices:
        box.addItem(text, value)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.setMinimumContentsLength(8)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return box


def wide_grid(rows: Sequence[tuple[str, QWidget]], widest: str) -> QGridLayout:
    """Fields beside their labels; `widest` is the longest label of all grids that stand below each other."""
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.SPACE)
    grid.setVerticalSpacing(theme.SMALL)
    for row, (text, field) in enumerate(rows):
        name = label(text)
        name.setBuddy(field)
        name.setMinimumWidth(name.fontMetrics().horizontalAdvance(widest))
        grid.addWidget(name, row, 0)
        grid.addWidget(field, row, 1)
    grid.setColumnStretch(1, 1)
    return grid
