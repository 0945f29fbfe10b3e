"""A sheet as Qt shows it: which rows, in which order, and shares as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from icebreaker_gui.graph_view.table.sheets import Column, Sheet
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip

_Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole
SHARE = _Role.UserRole  # of a bar, from 0 to 1
_MOST_TIP = 2000  # letters


class SheetModel(QAbstractTableModel):
    """Some rows of a sheet, in some order.

    Attributes:
        sheet: All that there is.
        rows: What is shown of it.
    """

    sortWanted = Signal(str, bool)  # name of the column, "" for the graph's order; whether the largest come first

    def __init__(self) -> None:
        super().__init__()
        self.sheet = Sheet()
        self.rows: Sequence[int] = ()
        self._names: list[str] = []

    def show(self, sheet: Sheet, rows: Sequence[int]) -> None:
        """Shows these rows of a sheet."""
        self.beginResetModel()
        self.sheet, self.rows, self._names = sheet, rows, list(sheet.columns)
        self.endResetModel()

    def column(self, number: int) -> Column:
        """The column of that number."""
        return self.sheet.columns[self._names[number]]

    def name(self, number: int) -> str:
        """The name of the column of that number; "" if there is none."""
        return self._names[number] if 0 <= number < len(self._names) else ""

    def number(self, name: str) -> int:
        """The number of a column; -1 if there is none."""
        return self._names.index(name) if name in self._names else -1

    def rowCount(self, parent: _Index | None = None) -> int:  # type: ignore[override]
        """How many rows are shown."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index | None = None) -> int:  # type: ignore[override]
        """How many columns there are."""
        return 0 if parent is not None and parent.isValid() else len(self._names)

    def data(self, index: _Index, role: int = _Role.DisplayRole) -> Any:
        """A cell: its text, where it stands, its tool tip, its share."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        column, row = self.column(index.column()), self.rows[index.row()]
        if role == _Role.DisplayRole:
            return column.cell(row)
        if role == _Role.TextAlignmentRole:
            return _side(column) | Qt.AlignmentFlag.AlignVCenter
        if role == _Role.ToolTipRole:
            value = column.values[row]
            exact = column.text is not None and isinstance(value, int)
            return tip((f"{value:,}" if exact else column.cell(row))[:_MOST_TIP])
        if role == SHARE and column.bar:
            return column.values[row]
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        """The head of a column."""
        if orientation == Qt.Orientation.Horizontal and section < len(self._names):
            column = self.column(section)
            if role == _Role.DisplayRole:
                return column.title
            if role == _Role.ToolTipRole:
                return column.told or column.title
            if role == _Role.TextAlignmentRole:
                return _side(column) | Qt.AlignmentFlag.AlignVCenter
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Asks for another order; a click on a head does."""
        self.sortWanted.emit(self.name(column), order == Qt.SortOrder.DescendingOrder)


def _side(column: Column) -> Qt.AlignmentFlag:
    return Qt.AlignmentFlag.AlignLeft if column.text is None else Qt.AlignmentFlag.AlignRight


class Bars(QStyledItemDelegate):
    """Draws a bar behind a share."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Paints the cell, then its bar at the foot, where it hides no word."""
        super().paint(painter, option, index)
        share = index.data(SHARE)
        if share:
            rect = QRectF(option.rect).adjusted(theme.SMALL, 0, -theme.SMALL, 0)  # type: ignore[attr-defined]
            width = max(1.0, min(1.0, share) * rect.width())
            bar = QRectF(rect.left(), rect.bottom() - 3, width, 3)
            painter.fillRect(bar, theme.current().color("accent", 0.7))
