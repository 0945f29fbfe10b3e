"""How full and busy the NVIDIA GPU is now."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from icebreaker import gpu
from icebreaker.gpu import Gpu
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, plain_text, theme
from icebreaker_gui.style.widgets import Progress, label

_INTERVAL_MILLISECONDS = 1000


def words(state: Gpu) -> str:
    """A GPU's load and memory in a line, `34 % · 3.0 GB / 12.0 GB`."""
    memory = f"{formatting.size(state.used_bytes)} / {formatting.size(state.memory_bytes)}"
    return f"{formatting.percent(state.utilization)} · {memory}"


class Meter(QWidget):
    """The GPU's load and memory, read every second in a thread while it is seen; hidden where there is none."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._reading: Work[Gpu | Exception | None] | None = None
        self._bar = Progress()
        self._bar.setFixedWidth(72)
        self._words = label(look="muted")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.SPACE)
        row.addWidget(label(self.tr("GPU"), "muted"))
        row.addWidget(self._bar)
        row.addWidget(self._words)
        self._timer = QTimer(self, interval=_INTERVAL_MILLISECONDS)
        self._timer.timeout.connect(self._ask)
        session.machineChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        machine = self._session.machine
        self.setVisible(bool(machine and machine.gpu))

    def _ask(self) -> None:
        if not (self._reading and self._reading.alive):
            self._reading = Work(self, self._on_read)
            self._reading.run_thread(gpu.find, "gpu-meter")

    def _on_read(self, batch: list[Gpu | Exception | None]) -> None:
        self.show_state(batch[0] if isinstance(batch[0], Gpu) else None)

    def show_state(self, state: Gpu | None) -> None:
        """Shows what was read; None: the GPU could not be asked."""
        if state is None:
            self._words.setText(self.tr("cannot be asked now"))
            return
        self._bar.set_fraction(state.used_bytes / state.memory_bytes if state.memory_bytes else 0.0)
        self._words.setText(words(state))
        tip = self.tr("{name}: its load, and the memory that all programs hold of it").format(name=state.name)
        self.setToolTip(plain_text.tip(tip))

    def showEvent(self, event: QShowEvent) -> None:
        """Reads only while it is seen."""
        super().showEvent(event)
        self._ask()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Reads no more while nobody sees it."""
        super().hideEvent(event)
        self._timer.stop()
