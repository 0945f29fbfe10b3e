"""The button that converts, below the form."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QCheckBox, QFrame, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from icebreaker_gui.panels.setup.calibration.source import lacks_data
from icebreaker_gui.panels.setup.engine.options import unmet
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, Progress, button, label, set_look


class ConvertBar(QFrame):
    """The Convert button; while something goes on, how far it is, how long it takes, and Cancel."""

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
        ready = QWidget()
        column = QVBoxLayout(ready)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._convert)
        column.addWidget(self._measure)
        column.addWidget(self._why)
        self._stage = Elided(bold=True)
        self._bar = Progress()
        self._time = label(look="muted")
        self._clock = QTimer(self, interval=1000)
        self._clock.timeout.connect(self._tell_time)
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
        column.addWidget(self._time)
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
        self._tell_time()
        if activity is None:
            self._clock.stop()
            why = self.why_not()
            self._convert.setEnabled(not why)
            self._why.setText(why)
            self._why.setVisible(bool(why))
            converted = self._session.conversion is not None
            fresh = converted and self._session.settings == self._session.converted_with
            set_look(self._convert, "" if fresh else "primary")
            self._convert.setText(self.tr("Convert again") if converted else self.tr("Convert"))
            if turned:  # keys go on with what takes the button's place
                self._convert.setFocus()
            return
        if not self._clock.isActive():
            self._clock.start()
        self._stage.setText(self.tr("Cancelling") if activity.cancelling else activity.stage)
        self._bar.set_fraction(activity.fraction)
        if self._cancel.hasFocus() and not self._session.can_cancel:
            self._pages.setFocus()  # else the focus would leave for another dock
        self._cancel.setEnabled(self._session.can_cancel)
        if turned:
            self._cancel.setFocus()

    def _tell_time(self) -> None:
        """How long it has taken, and about how long it still takes."""
        activity = self._session.activity
        if activity is None or activity.elapsed < 1:
            self._time.setText("")
            return
        parts = [formatting.duration(activity.elapsed)]
        if (left := activity.remaining) is not None:
            parts.append(formatting.about(left))
        self._time.setText(" · ".join(parts))

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
