"""The NVIDIA GPU's memory: how TensorFlow and the engines share it, and how full and busy the GPU is now."""

from __future__ import annotations

import contextlib
import threading

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from icebreaker import gpu
from icebreaker.gpu import Gpu
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Progress, label

_STEP_BYTES = 100_000_000
_LEAST, _MOST = 0.05, 0.95
_INTERVAL_MILLISECONDS = 1000


def fraction_for(memory_bytes: int, workspace_bytes: int) -> float | None:
    """TensorFlow's share that leaves the engines their workspace, to two digits; None if it cannot.

    Args:
        memory_bytes: All of the GPU's memory.
        workspace_bytes: What the engines shall have of it.
    """
    if memory_bytes <= 0:
        return None
    fraction = round((memory_bytes - workspace_bytes) / memory_bytes, 2)
    return fraction if _LEAST <= fraction <= _MOST else None


def workspace_for(memory_bytes: int, fraction: float) -> int:
    """Bytes that TensorFlow's share leaves to the engines, to 0.1 GB, as the share has two digits only."""
    return max(0, round(memory_bytes * (1 - fraction) / _STEP_BYTES)) * _STEP_BYTES


def words(state: Gpu) -> str:
    """A GPU's load and memory in a line."""
    memory = f"{formatting.size(state.used_bytes)} / {formatting.size(state.memory_bytes)}"
    return f"{formatting.percent(state.utilization)} · {memory}"


class Meter(QWidget):
    """The GPU's load and memory, read every second in a thread while it is seen; hidden where there is none."""

    _read = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._thread: threading.Thread | None = None
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
        self._read.connect(self.show_state)
        session.machineChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        machine = self._session.machine
        self.setVisible(bool(machine and machine.gpu))

    def _ask(self) -> None:
        if self._thread and self._thread.is_alive():
            return

        def work() -> None:
            state = gpu.find()
            with contextlib.suppress(RuntimeError):  # the window is gone
                self._read.emit(state)

        self._thread = threading.Thread(target=work, name="gpu-meter", daemon=True)
        self._thread.start()

    def show_state(self, state: Gpu | None) -> None:
        """Shows what was read; None: the GPU could not be asked."""
        if state is None:
            self._words.setText(self.tr("cannot be asked now"))
            return
        self._bar.set_fraction(state.used_bytes / state.memory_bytes if state.memory_bytes else 0.0)
        self._words.setText(words(state))
        tip = self.tr("{name}: its load, and the memory that all programs hold of it").format(name=state.name)
        self.setToolTip(tip)

    def showEvent(self, event: QShowEvent) -> None:
        """Reads only while it is seen."""
        super().showEvent(event)
        self._ask()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Rests."""
        super().hideEvent(event)
        self._timer.stop()
