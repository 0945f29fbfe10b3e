"""The Log dock: what the app and its workers said, by level and by text."""

from __future__ import annotations

import collections
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QHBoxLayout, QLineEdit, QListView, QVBoxLayout, QWidget

from icebreaker_gui.session.log_book import KEPT_LINES, LEVELS, LogLine
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import button, calm, label

_COLORS = {"debug": "faint", "info": "text", "warning": "warning", "error": "error"}


class _Lines(QAbstractListModel):
    """The lines of at least one level that contain a text."""

    def __init__(self) -> None:
        super().__init__()
        self.level = "info"
        self.text = ""
        self._shown: collections.deque[LogLine] = collections.deque(maxlen=KEPT_LINES)

    def show_all(self, lines: collections.deque[LogLine]) -> None:
        """Shows what matches now."""
        self.beginResetModel()
        self._shown.clear()
        self._shown.extend(line for line in lines if self._matches(line))
        self.endResetModel()

    def append(self, lines: list[LogLine]) -> None:
        """Adds what matches of new lines."""
        new = [line for line in lines if self._matches(line)]
        excess = len(self._shown) + len(new) - KEPT_LINES
        if excess > 0:
            self.beginRemoveRows(QModelIndex(), 0, min(excess, len(self._shown)) - 1)
            for _ in range(min(excess, len(self._shown))):
                self._shown.popleft()
            self.endRemoveRows()
        if new:
            self.beginInsertRows(QModelIndex(), len(self._shown), len(self._shown) + len(new) - 1)
            self._shown.extend(new)
            self.endInsertRows()

    def _matches(self, line: LogLine) -> bool:
        level = LEVELS.index(line.level) if line.level in LEVELS else 1
        return level >= LEVELS.index(self.level) and self.text.lower() in line.text.lower()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's own
        """How many are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, colour and tool tip of a line."""
        line = self._shown[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{line.time:%H:%M:%S}  {line.level:<7}  {line.text}"
        if role == Qt.ItemDataRole.ForegroundRole:
            return theme.current().color(_COLORS.get(line.level, "text"))
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(line.text)
        return None


class Log(QWidget):
    """The list with its level, its search and Copy."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._model = _Lines()
        self._level = calm(QComboBox())
        words = (self.tr("Everything"), self.tr("Information"), self.tr("Warnings"), self.tr("Errors"))
        for level, word in zip(LEVELS, words, strict=True):
            self._level.addItem(word, level)
        self._level.setCurrentIndex(1)
        self._level.setToolTip(self.tr("The least level to show; Everything includes what native libraries print"))
        self._level.currentIndexChanged.connect(self._filter)
        self._search = QLineEdit(placeholderText=self.tr("Search the log"), clearButtonEnabled=True)
        self._search.textChanged.connect(self._filter)
        copy = button(self.tr("Copy"), self.tr("Copy the selected lines, or all that are shown"))
        copy.clicked.connect(self.copy)
        self._list = QListView()
        self._list.setModel(self._model)
        self._list.setFont(theme.mono(0.95))
        self._list.setUniformItemSizes(True)
        self._list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._list.setAccessibleName(self.tr("Log"))
        shortcut = self._list.addAction(self.tr("Copy"))
        shortcut.setShortcut(QKeySequence.StandardKey.Copy)
        shortcut.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        shortcut.triggered.connect(self.copy)
        self._list.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        row = QHBoxLayout()
        row.addWidget(label(self.tr("Show"), "muted"))
        row.addWidget(self._level)
        row.addWidget(self._search, 1)
        row.addWidget(copy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, theme.SMALL, 12, theme.SPACE)
        layout.addLayout(row)
        layout.addWidget(self._list, 1)
        session.log.added.connect(self._on_logged)
        self._filter()

    def copy(self) -> None:
        """Puts the selected lines, or all that are shown, on the clipboard."""
        rows = sorted(index.row() for index in self._list.selectedIndexes()) or range(self._model.rowCount())
        lines = [self._model.data(self._model.index(row)) for row in rows]
        QGuiApplication.clipboard().setText("\n".join(lines))

    def _filter(self) -> None:
        self._model.level = self._level.currentData()
        self._model.text = self._search.text()
        self._model.show_all(self._session.log.lines)
        self._list.scrollToBottom()

    def _on_logged(self, lines: list[LogLine]) -> None:
        bar = self._list.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 1
        self._model.append(lines)
        if at_end:
            self._list.scrollToBottom()
