"""The button that converts, below the form."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QCheckBox, QFrame, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from icebreaker_gui.panels.setup.calibration.source import lacks_data
from icebreaker_gui.panels.setup.engine.options import unmet
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Elided, Progress, button, label, set_look


class ConvertBar(QFrame):
    """The Convert button, and Save once there is something; while something goes on, its progress and Cancel."""

    saveWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._convert = button(self.tr("Convert"), self.tr("Make the optimized graph (F5)"), "primary")
        self._convert.setFont(theme.font(1.1, bold=True))
        self._convert.clicked.connect(session.convert)
        self._measure = QCheckBox(self.tr("Then measure both graphs"))
        self._measure.setToolTip(
            self.tr("Time the original and the optimized graph in turns, as set in the Latency dock")
        )
        self._measure.setChecked(session.measure_after_convert)
        self._measure.toggled.connect(self._on_measure)
        self._why = label(look="muted", wrap=True)
        self._save = button(self.tr("Save optimized graph…"), self.tr("Keep the result under a name of yours (Ctrl+S)"))
        self._save.clicked.connect(self.saveWanted)
        ready = QWidget()
        column = QVBoxLayout(ready)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._convert)
        column.addWidget(self._save)
        column.addWidget(self._measure)
        column.addWidget(self._why)
        self._stage = Elided(bold=True)
        self._bar = Progress()
        self._cancel = button(self.tr("Cancel"), self.tr("Stop at once and leave nothing behind (Esc)"))
        self._cancel.clicked.connect(session.cancel)
        working = QWidget()
        column = QVBoxLayout(working)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._stage)
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        column.addLayout(row)
        column.addStretch()
        self._pages = QStackedWidget()
        self._pages.addWidget(ready)
        self._pages.addWidget(working)
        line = QFrame()
        line.setProperty("look", "line")
        line.setFixedHeight(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(line)
        inner = QVBoxLayout()
        inner.setContentsMargins(12, theme.SMALL, 12, 12)
        inner.addWidget(self._pages)
        layout.addLayout(inner)
        for signal in (
            session.activityChanged, session.graphChanged, session.settingsChanged, session.conversionChanged,
            session.savedChanged, session.machineChanged,
        ):  # fmt: skip
            signal.connect(self._update)
        self._update()

    def _on_measure(self, on: bool) -> None:
        self._session.measure_after_convert = on

    def _update(self) -> None:
        activity = self._session.activity
        page, focused = 0 if activity is None else 1, QApplication.focusWidget()
        mine = focused is not None and (focused is self._pages or self._pages.isAncestorOf(focused))
        turned = mine and page != self._pages.currentIndex()
        self._pages.setCurrentIndex(page)
        if activity is None:
            why = self.why_not()
            self._convert.setEnabled(not why)
            self._why.setText(why)
            self._why.setVisible(bool(why))
            converted = self._session.conversion is not None
            self._save.setVisible(converted)
            fresh = self._session.unsaved and self._session.settings == self._session.converted_with
            set_look(self._save, "primary" if fresh else "")
            set_look(self._convert, "" if fresh else "primary")
            self._convert.setText(self.tr("Convert again") if converted else self.tr("Convert"))
            if turned:  # keys go on with what takes the button's place
                (self._save if fresh else self._convert).setFocus()
            return
        self._stage.setText(self.tr("Cancelling") if activity.cancelling else activity.stage)
        self._bar.set_fraction(activity.fraction)
        if self._cancel.hasFocus() and not self._session.can_cancel:
            self._pages.setFocus()  # else the focus would leave for another dock
        self._cancel.setEnabled(self._session.can_cancel)
        if turned:
            self._cancel.setFocus()

    def why_not(self) -> str:
        """Why the button is disabled, if it is."""
        if self._session.graph is None:
            return self.tr("Open a graph first.")
        if not self._session.settings.outputs:
            return self.tr("Choose at least one output.")
        settings = self._session.settings
        is_program = Path(settings.quantization.calibration or "").suffix == ".py"
        if settings.precision == "int8" and is_program and not self._session.consent.python:
            return self.tr("The calibration data is a program: allow it to run, or choose other data.")
        if lacks_data(self._session):
            return self.tr("INT8 needs data: choose under Calibration what to calibrate on.")
        if unmet(self._session):
            return self.tr("An engine option cannot be had: see above.")
        return ""
