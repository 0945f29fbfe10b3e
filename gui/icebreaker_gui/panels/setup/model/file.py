"""Which graph is open."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QWidget

from icebreaker.messages import printable
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Elided, button, label

_MOST_OPS = 20  # in the tool tip


class GraphFile(QWidget):
    """The open file's name and how large its graph is, a list of its signatures, and a button to open another."""

    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._name = Elided(bold=True)
        self._facts = label(look="muted", wrap=True)
        opener = button(self.tr("Open…"), self.tr("Open a frozen graph, SavedModel or Keras file (Ctrl+O)"))
        opener.clicked.connect(self.openWanted)
        self._signatures = QComboBox()
        self._signatures.setToolTip(self.tr("The signature of the SavedModel that is open"))
        self._signatures.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._signatures.activated.connect(self._open_signature)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(theme.TINY)
        layout.addWidget(self._name, 0, 0)
        layout.addWidget(opener, 0, 1)
        layout.addWidget(self._facts, 1, 0, 1, 2)
        layout.addWidget(self._signatures, 2, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        session.activityChanged.connect(lambda: self._signatures.setEnabled(not session.busy))
        session.graphChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        inspection, path = self._session.inspection, self._session.path
        if inspection is None or path is None:
            self._name.setText(self.tr("No graph is open"), "muted")
            self._facts.hide()
            self._signatures.hide()
            return
        self._signatures.clear()
        for name in sorted({inspection.signature, *inspection.other_signatures}):
            self._signatures.addItem(printable(name), name)
        self._signatures.setCurrentIndex(self._signatures.findData(inspection.signature))
        self._signatures.setVisible(bool(inspection.other_signatures))
        self._name.setText(path.name, "text")
        self._name.setToolTip(tip(str(path)))
        facts = [
            formatting.count(inspection.nodes, self.tr("{n} node"), self.tr("{n} nodes")),
            formatting.count(len(inspection.ops), self.tr("{n} kind of op"), self.tr("{n} kinds of op")),
            self.tr("{size} of constants").format(size=formatting.size(inspection.bytes)),
        ]
        if inspection.functions:
            functions = len(inspection.functions)
            facts.append(formatting.count(functions, self.tr("{n} function"), self.tr("{n} functions")))
        if inspection.control_flow:
            facts.append(self.tr("control flow"))
        self._facts.setText(" · ".join(facts))
        self._facts.show()
        ops = list(inspection.ops.items())[:_MOST_OPS]
        self._facts.setToolTip(tip("\n".join(f"{count} {op}" for op, count in ops)))

    def _open_signature(self) -> None:
        """Opens the same SavedModel by another signature."""
        session, name = self._session, self._signatures.currentData()
        if session.path and session.inspection and name != session.inspection.signature:
            session.open(session.path, signature=name)
