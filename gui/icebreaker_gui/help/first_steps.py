"""The page of first steps."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import button, label


class FirstSteps(QDialog):
    """What to do first, step by step, and how to read what is seen."""

    sampleWanted = Signal()
    shortcutsWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("First steps"))
        self.resize(620, 620)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setSpacing(theme.LARGE)
        for number, (title, words) in enumerate(self._steps(), 1):
            column.addLayout(self._step(str(number), title, words))
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        column.addWidget(line)
        for title, words in self._reading():
            column.addLayout(self._step("", title, words))
        column.addStretch()
        area = QScrollArea()
        area.setWidget(page)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setToolTip(self.tr("Read on with the arrow keys"))
        area.setAccessibleName(self.tr("First steps"))
        sample = button(
            self.tr("&Open the sample"), self.tr("A small network that reads handwritten digits"), "primary"
        )
        sample.clicked.connect(self.sampleWanted)
        sample.clicked.connect(self.close)
        keys = button(self.tr("&Keyboard shortcuts"), self.tr("All keys on one page"))
        keys.clicked.connect(self.shortcutsWanted)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.button(QDialogButtonBox.StandardButton.Close).setToolTip(self.tr("Esc closes it, too"))
        close.rejected.connect(self.close)
        row = QHBoxLayout()
        row.addWidget(sample)
        row.addWidget(keys)
        row.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.LARGE, theme.LARGE, theme.LARGE, theme.LARGE)
        layout.addWidget(area, 1)
        layout.addLayout(row)

    def _steps(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.tr("Open a graph"), self.tr(
                "Drop a file here, or press Ctrl+O: a frozen graph (.pb, .pbtxt), a SavedModel or a Keras model. "
                "Nothing in it runs before you ask.")),
            (self.tr("Press Convert (F5)"), self.tr(
                "Every engine that works here is tried on every part of the graph, compared with TensorFlow and "
                "measured. The fastest that is right stays.")),
            (self.tr("See what came of it"), self.tr(
                "Original and optimized run in turns. You see how many times faster it is, within which bounds, and "
                "how far the answers differ.")),
            (self.tr("Ask why"), self.tr(
                "Each op that stays in TensorFlow has its reason, and what would change it. Press a node to read it.")),
            (self.tr("Save"), self.tr(
                "What you save (Ctrl+S) is an ordinary frozen graph: plain TensorFlow runs it anywhere; with "
                "Icebreaker installed, the engines run it.")),
        )  # fmt: skip

    def _reading(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.tr("The graph"), self.tr(
                "Double click a group to open it; the wheel zooms; arrow keys go along the edges. Colours mean what "
                "the list above the graph says: time, FLOPs, parameters, precision …")),
            (self.tr("The table"), self.tr(
                "Every op and every engine layer with time, FLOPs, parameters and bytes. A row shows its node in the "
                "graph, a node its row.")),
            (self.tr("Two graphs"), self.tr(
                "File, Compare with… shows what is different in a second file: what was added, removed and changed, "
                "and by how much weights differ.")),
        )  # fmt: skip

    def _step(self, number: str, title: str, words: str) -> QHBoxLayout:
        mark = label(number, "title")
        mark.setFixedWidth(22)
        mark.setAlignment(Qt.AlignmentFlag.AlignTop)
        text = QVBoxLayout()
        text.setSpacing(theme.TINY)
        text.addWidget(label(title, "title"))
        text.addWidget(label(words, wrap=True))
        row = QHBoxLayout()
        row.addWidget(mark)
        row.addLayout(text, 1)
        return row
