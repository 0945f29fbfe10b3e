"""A table of names and texts in sections, which can be copied, and in which names of nodes are links."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QMenu, QTreeWidget, QTreeWidgetItem, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip

_JUMP = Qt.ItemDataRole.UserRole
_MOST_TIP = 2000  # letters of a tool tip


class Row(NamedTuple):
    """One row of a section; `jump` is the node that a click on the text leads to, if any."""

    name: str
    text: str
    jump: str = ""


class AttributeTable(QTreeWidget):
    """The table.

    Attributes:
        lines: All that it says, for copying.
    """

    jumpWanted = Signal(str)
    copyAllWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines: list[str] = []
        self.setColumnCount(2)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(False)
        self.setIndentation(10)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setAccessibleName(self.tr("Attributes"))
        self.header().setStretchLastSection(True)
        self.itemActivated.connect(self._jump)
        self.itemClicked.connect(self._jump)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu)
        copy = QAction(self.tr("Copy"), self)
        copy.setShortcut(QKeySequence.StandardKey.Copy)
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        copy.triggered.connect(self._copy)
        self.addAction(copy)

    def fit_names(self) -> None:
        """Gives the names as much room as they need, and the texts half of the width at least."""
        self.setColumnWidth(0, max(96, min(self.sizeHintForColumn(0) + 8, self.viewport().width() // 2)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Follows the width."""
        super().resizeEvent(event)
        self.fit_names()

    def clear(self) -> None:
        """Takes all sections away."""
        super().clear()
        self.lines = []

    def section(self, title: str) -> QTreeWidgetItem:
        """Adds a section, to which rows can be added."""
        section = QTreeWidgetItem([title])
        self.lines.append(title)
        section.setFirstColumnSpanned(True)
        section.setFont(0, theme.font(bold=True))
        section.setForeground(0, theme.current().color("muted"))
        section.setFlags(Qt.ItemFlag.ItemIsEnabled)
        self.addTopLevelItem(section)
        section.setFirstColumnSpanned(True)
        return section

    def row(self, section: QTreeWidgetItem, name: str, text: str, jump: str = "") -> None:
        """Adds a row to a section; a click on its text leads to the node `jump`, if there is one."""
        row = QTreeWidgetItem([name, text])
        self.lines.append(f"  {name}\t{text}")
        row.setToolTip(0, tip(name))
        row.setToolTip(1, tip(text if len(text) < _MOST_TIP else text[:_MOST_TIP] + " …"))
        row.setForeground(0, theme.current().color("muted"))
        if jump:
            row.setData(1, _JUMP, jump)
            row.setForeground(1, theme.current().color("accent"))
        section.addChild(row)

    def _jump(self, row: QTreeWidgetItem, column: int = 1) -> None:
        name = row.data(1, _JUMP)
        if name and column == 1:
            self.jumpWanted.emit(name)

    def _copy(self) -> None:
        row = self.currentItem()
        if row:
            QGuiApplication.clipboard().setText(row.text(1) or row.text(0))

    def _menu(self, at: QPoint) -> None:
        if self.itemAt(at) is None:
            return
        menu = QMenu(self)
        menu.addAction(self.tr("Copy"), self._copy)
        menu.addAction(self.tr("Copy all"), self.copyAllWanted.emit)
        menu.exec(self.viewport().mapToGlobal(at))
