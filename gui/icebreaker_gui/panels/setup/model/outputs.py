"""Which tensors of the graph are its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import QLineEdit, QListView

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PLACEHOLDERS
from icebreaker_gui.session.session import Session
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Section

_Index = QModelIndex | QPersistentModelIndex
_NO_OUTPUTS = PLACEHOLDERS | {"Const", "NoOp", "Assert"}


class TensorList(QAbstractListModel):
    """Tensors with check marks, of which those whose names contain a text are shown."""

    checkedChanged = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._ops: dict[str, str] = {}
        self._shown: list[str] = []
        self._filter = ""
        self.checked: dict[str, None] = {}

    def load(self, graph: Graph, checked: Iterable[str]) -> None:
        """Offers every tensor of a graph that can be an output: candidates first, then from the end backwards."""
        first = dict.fromkeys((*graph.candidate_outputs, *checked))
        rest: dict[str, None] = {}
        for node in reversed(graph.nodes):
            if node.op not in _NO_OUTPUTS:
                rest[node.name] = None
            for tensor in node.inputs:  # ports above 0 are known by their readers
                if tensor.port:
                    rest[str(tensor)] = None
        self._names = list(first | rest)
        self._ops = {node.name: node.op for node in graph}
        self.checked = dict.fromkeys(checked)
        self.show_matching(self._filter)

    def check_only(self, names: Iterable[str]) -> None:
        """Sets the check marks of these tensors, and takes away all others."""
        self.checked = dict.fromkeys(names)
        self.dataChanged.emit(self.index(0), self.index(max(0, len(self._shown) - 1)))

    def show_matching(self, text: str) -> None:
        """Shows the tensors with `text` in their names or ops."""
        self._filter = text
        want = text.strip().lower()
        self.beginResetModel()
        self._shown = [
            name
            for name in self._names
            if not want or want in name.lower() or want in self._ops.get(name.split(":")[0], "").lower()
        ]
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        """How many tensors are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A tensor's name, its check mark, and its op as the tool tip."""
        name = self._shown[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return name
        if role == Qt.ItemDataRole.CheckStateRole:
            return Qt.CheckState.Checked if name in self.checked else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(f"{name}\n{self._ops.get(name.split(':')[0], '')}")
        return None

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Sets or takes away a check mark."""
        if role != Qt.ItemDataRole.CheckStateRole:
            return False
        name = self._shown[index.row()]
        if Qt.CheckState(value) == Qt.CheckState.Checked:
            self.checked[name] = None
        else:
            self.checked.pop(name, None)
        self.dataChanged.emit(index, index)
        self.checkedChanged.emit()
        return True

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Every row has a check mark that the user can set."""
        return super().flags(index) | Qt.ItemFlag.ItemIsUserCheckable


class Outputs(Section):
    """The list of tensors with a field to search it; what is checked becomes an output."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Outputs"))
        self._session = session
        self._model = TensorList()
        search = QLineEdit(placeholderText=self.tr("Search tensors by name or op"), clearButtonEnabled=True)
        search.setAccessibleName(self.tr("Search the outputs"))
        search.setToolTip(self.tr("Shows the tensors with these letters in name or op"))
        search.textChanged.connect(self._model.show_matching)
        self._list = QListView()
        self._list.setModel(self._model)
        self._list.setUniformItemSizes(True)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setFixedHeight(124)
        self._list.setAccessibleName(self.tr("Outputs"))
        self._list.setToolTip(self.tr("What the optimized graph shall give"))
        self._model.checkedChanged.connect(lambda: session.change(outputs=tuple(self._model.checked)))
        self.body.addWidget(search)
        self.body.addWidget(self._list)
        session.graphChanged.connect(self._load)
        session.settingsChanged.connect(self._update)
        self._load()

    def _load(self) -> None:
        if self._session.graph:
            self._model.load(self._session.graph, self._session.settings.outputs)
        self._update()

    def _update(self) -> None:
        outputs = self._session.settings.outputs
        if tuple(self._model.checked) != outputs:
            self._model.check_only(outputs)
        self.remark.setText(self.tr("{n} chosen").format(n=len(outputs)))
