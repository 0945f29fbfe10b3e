"""Search with regular expressions over names, ops and attributes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QAbstractListModel, QEvent, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QListView, QVBoxLayout, QWidget

from icebreaker.graph.graph import Graph, Node
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.layout import Inner
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import label


def search(graph: Graph, pattern: str, inner: Mapping[str, Inner] | None = None) -> list[str]:
    """Names of the nodes that match, best first: whole names, then ops, parts of names, attributes.

    `inner` has the nodes inside functions, which are looked at as well.

    Raises:
        re.error: The pattern is no regular expression.
    """
    if not pattern:
        return []
    found = re.compile(pattern, re.IGNORECASE)
    groups: tuple[list[str], ...] = ([], [], [], [])
    nodes = itertools.chain(
        ((node.name, node) for node in graph), ((key, item.node) for key, item in (inner or {}).items())
    )
    for name, node in nodes:
        if found.fullmatch(name):
            groups[0].append(name)
        elif found.search(node.op):
            groups[1].append(name)
        elif found.search(name):
            groups[2].append(name)
        elif any(found.search(text) for text in _attributes(node)):
            groups[3].append(name)
    return [name for group in groups for name in group]


def _attributes(node: Node) -> list[str]:
    return [f"{name}={value}" for name, value in node.attrs.items() if not isinstance(value, bytes)]


class _Results(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ops: dict[str, str] = {}

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:  # type: ignore[override]
        return 0 if parent is not None and parent.isValid() else len(self.names)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        name = self.names[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{name}\n{self.ops.get(name, '')}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(name)
        return None

    def show(self, names: list[str], ops: dict[str, str]) -> None:
        self.beginResetModel()
        self.names, self.ops = names, ops
        self.endResetModel()


class SearchField(QLineEdit):
    """Ctrl+F goes here; Return is the next result, Shift+Return the one before."""

    nextWanted = Signal(int)

    def event(self, event: QEvent) -> bool:
        """Keeps Escape for itself while there is something to clear: elsewhere it cancels what is going on."""
        match event:
            case QKeyEvent() if event.type() == QEvent.Type.ShortcutOverride and event.key() == Qt.Key.Key_Escape:
                if self.text():
                    event.accept()
                    return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Goes to the next or former result, or clears the field."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.nextWanted.emit(-1 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1)
        elif event.key() == Qt.Key.Key_Escape:
            self.clear()
        else:
            super().keyPressEvent(event)


class SearchPanel(QWidget):
    """The list of results."""

    jumpWanted = Signal(str)

    def __init__(self, state: GraphState, field: SearchField, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, self._field = state, field
        self._count = label()
        self._count.setProperty("look", "muted")
        self._count.setWordWrap(True)
        self._model = _Results()
        self._list = QListView()
        self._list.setModel(self._model)
        self._list.setUniformItemSizes(True)
        self._list.setSpacing(theme.TINY)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setAccessibleName(self.tr("Search results"))
        self._list.setToolTip(self.tr("Choose one to see it in the graph"))
        self._list.clicked.connect(lambda index: self._go(index.row()))
        self._list.activated.connect(lambda index: self._go(index.row()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.addWidget(self._count)
        layout.addWidget(self._list, 1)
        self._place = -1
        field.textChanged.connect(self._search)
        field.nextWanted.connect(self.step)
        state.graphChanged.connect(lambda: self._search(field.text()))
        self._search("")

    @property
    def names(self) -> list[str]:
        """The results."""
        return self._model.names

    def _search(self, text: str) -> None:
        graph = self._state.data.graph
        self._place = -1
        wrong = ""
        names: list[str] = []
        if graph is not None and text:
            try:
                names = search(graph, text, self._state.shared.outline.inner if self._state.shared else None)
            except re.error as error:
                wrong = str(error)
        self._field.setProperty("invalid", "true" if wrong else "false")
        self._field.style().unpolish(self._field)
        self._field.style().polish(self._field)
        inner = self._state.shared.outline.inner if self._state.shared else {}
        ops = {name: graph[name].op if name in graph else inner[name].node.op for name in names} if graph else {}
        self._model.show(names, ops)
        if wrong:
            self._count.setText(self.tr("Not a regular expression: {error}").format(error=wrong))
        elif text:
            found = formatting.count(len(names), self.tr("{n} node matches"), self.tr("{n} nodes match"))
            self._count.setText(found)
        else:
            self._count.setText(
                self.tr("Type part of a name, an op or an attribute, such as Conv2D, block3/.*relu or T=int64.")
            )
        self._state.set_found(names[:2000])

    def step(self, by: int) -> None:
        """Goes to the next (1) or former (-1) result."""
        if self._model.names:
            self._go((self._place + by) % len(self._model.names) if self._place >= 0 or by > 0 else -1)

    def _go(self, row: int) -> None:
        self._place = row % len(self._model.names)
        self._list.setCurrentIndex(self._model.index(self._place))
        self.jumpWanted.emit(self._model.names[self._place])
