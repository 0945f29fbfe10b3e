"""The Setup dock: what to convert, how, and the button that does it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from icebreaker_gui.panels.setup.calibration.form import Calibration
from icebreaker_gui.panels.setup.convert_bar import ConvertBar
from icebreaker_gui.panels.setup.engine.choice import EngineChoice
from icebreaker_gui.panels.setup.engine.options import EngineOptions
from icebreaker_gui.panels.setup.engine.precision import PrecisionChoice
from icebreaker_gui.panels.setup.gpu_memory import GpuMemory
from icebreaker_gui.panels.setup.limits import EngineLimits, WorkerLimits
from icebreaker_gui.panels.setup.model.file import GraphFile
from icebreaker_gui.panels.setup.model.inputs import Inputs
from icebreaker_gui.panels.setup.model.node_choices import NodeChoices
from icebreaker_gui.panels.setup.model.outputs import Outputs
from icebreaker_gui.panels.setup.model.sample_data import SampleData
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Section


class Setup(QWidget):
    """The form of the settings over the bar with the Convert button."""

    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(12, theme.SPACE, 12, theme.LARGE)
        column.setSpacing(theme.LARGE)
        self._file = GraphFile(session)
        self._file.openWanted.connect(self.openWanted)
        self._graph_parts = [Inputs(session), Outputs(session)]
        kept = self.tr("Kept in 16 or 32 bits by you"), self.tr("Let {name} be INT8 again")
        excluded = self.tr("Left in TensorFlow by you"), self.tr("Give {name} to engines again")
        self._parts: list[Section] = [
            *self._graph_parts, EngineChoice(session), EngineOptions(session), PrecisionChoice(session),
            Calibration(session), NodeChoices(session, "keep_float", *kept), EngineLimits(session), GpuMemory(session),
            SampleData(session), NodeChoices(session, "exclude", *excluded), WorkerLimits(session),
        ]  # fmt: skip
        for part in (self._file, *self._parts):
            column.addWidget(part)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(form)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it follows what has the focus in it
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.viewport().setAutoFillBackground(False)
        form.setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        self.convert_bar = ConvertBar(session)
        layout.addWidget(self.convert_bar)
        self.setMinimumWidth(300)
        session.activityChanged.connect(self._update)
        session.graphChanged.connect(self._update)
        self._update()

    def why_not(self) -> str:
        """Why the graph cannot be converted as things are; nothing if it can."""
        return self.convert_bar.why_not()

    def _update(self) -> None:
        for part in self._parts:
            part.setEnabled(not self._session.busy)
        for part in self._graph_parts:
            part.setVisible(self._session.graph is not None)
