"""The Setup dock: what to convert, how, and the button that does it."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
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
from icebreaker_gui.panels.setup.values import CARDS, is_changed, value_of
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.cards import Card
from icebreaker_gui.style.widgets import Section, button


class Setup(QWidget):
    """The settings as cards, each with its value in its one line, over the bar with the Convert button.

    One card is open at a time, so that all of them fit.

    Attributes:
        cards: Name → card, a key of `values.CARDS`.
    """

    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        file = GraphFile(session)
        file.openWanted.connect(self.openWanted)
        self._graph_parts = [Inputs(session), Outputs(session)]
        kept = self.tr("Kept in 16 or 32 bits by you"), self.tr("Let {name} be INT8 again")
        excluded = self.tr("Left in TensorFlow by you"), self.tr("Give {name} to engines again")
        engine, precision = (EngineChoice(session), EngineOptions(session)), PrecisionChoice(session)
        data = Calibration(session), NodeChoices(session, "keep_float", *kept), SampleData(session)
        advanced = (
            EngineLimits(session), NodeChoices(session, "exclude", *excluded), GpuMemory(session),
            WorkerLimits(session),
        )  # fmt: skip
        self._parts: list[Section] = [*self._graph_parts, *engine, precision, *data, *advanced]
        self.cards = {
            "model": Card(self.tr("Model"), file, self._graph_parts[0]),
            "outputs": Card(self.tr("Outputs"), self._graph_parts[1]),
            "engine": Card(self.tr("Engine"), *engine),
            "precision": Card(self.tr("Precision"), precision),
            "data": Card(self.tr("Data"), *data),
            "advanced": Card(self.tr("Advanced"), *advanced),
        }
        self._reset = button(self.tr("Reset all settings"), self.tr("Choose again what this graph began with"), "link")
        self._reset.clicked.connect(session.reset)
        self._make_form()
        self.convert_bar = ConvertBar(session)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._scroll, 1)
        layout.addWidget(self.convert_bar)
        self.setMinimumWidth(290)
        for signal in (
            session.activityChanged, session.graphChanged, session.settingsChanged, session.machineChanged,
        ):  # fmt: skip
            signal.connect(self._update)
        session.settingsChanged.connect(self._follow_precision)
        self._precision = session.settings.precision
        self.open_card("precision")
        self._update()

    def _make_form(self) -> None:
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        column.setSpacing(6)
        for card in self.cards.values():
            column.addWidget(card)
            card.opened.connect(self._fold_others)
        column.addWidget(self._reset, 0, Qt.AlignmentFlag.AlignRight)
        column.addStretch()
        self._scroll = QScrollArea()
        self._scroll.setWidget(form)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it follows what has the focus in it
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.viewport().setAutoFillBackground(False)
        form.setAutoFillBackground(False)

    def open_card(self, name: str) -> None:
        """Opens a card, and folds the others: model, outputs, engine, precision, data or advanced."""
        self.cards[name].open()

    def _fold_others(self) -> None:
        opened = self.sender()
        for card in self.cards.values():
            if card is not opened:
                card.open(False)
        if isinstance(opened, Card):  # once it has its size
            QTimer.singleShot(0, lambda: self._scroll.ensureWidgetVisible(opened.head, 0, theme.SPACE))

    def why_not(self) -> str:
        """Why the graph cannot be converted as things are; nothing if it can."""
        return self.convert_bar.why_not()

    def _follow_precision(self) -> None:
        """INT8 needs data: where it is chosen comes next."""
        precision = self._session.settings.precision
        if precision == "int8" != self._precision:
            QTimer.singleShot(0, lambda: self.open_card("data"))
        self._precision = precision

    def _update(self) -> None:
        session = self._session
        for part in self._parts:
            part.setEnabled(not session.busy)
        for part in self._graph_parts:
            part.setVisible(session.graph is not None)
        changed = False
        for name in CARDS:
            differs = is_changed(session, name)
            changed |= differs
            self.cards[name].head.tell(value_of(session, name), differs)
        self.cards["outputs"].setVisible(session.graph is not None)
        self._reset.setVisible(changed)
        self._reset.setEnabled(not session.busy)
