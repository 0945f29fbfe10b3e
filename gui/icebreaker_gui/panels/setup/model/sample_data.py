"""Real values for the inputs."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QHBoxLayout

from icebreaker_gui.session.session import Session
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Elided, Section, button


class SampleData(Section):
    """A file with real values, on which engines are checked and INT8 is calibrated."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Sample data"))
        self._session = session
        self._name = Elided(color="muted")
        choose = button(self.tr("Choose…"), self.tr("An .npz with an array for each input, by its name"))
        choose.clicked.connect(self._choose)
        self._clear = button(self.tr("Clear"), self.tr("Check the engines on made-up values"))
        self._clear.clicked.connect(lambda: session.change(data=None))
        row = QHBoxLayout()
        row.addWidget(self._name, 1)
        row.addWidget(self._clear)
        row.addWidget(choose)
        self.body.addLayout(row)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        data = self._session.settings.data
        self._name.setText(
            Path(data).name if data else self.tr("made up from types and shapes"), "text" if data else "muted"
        )
        self._name.setToolTip(
            tip(data) if data else self.tr("Every engine is checked against TensorFlow on these values")
        )
        self._clear.setVisible(data is not None)

    def _choose(self) -> None:
        start = str(self._session.path.parent) if self._session.path else ""
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Sample data"), start, self.tr("NumPy archives (*.npz)"))
        if path:
            self._session.change(data=path)
