"""How TensorFlow and the engines share the NVIDIA GPU's memory."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import QCheckBox, QSlider

from icebreaker.gpu import left_for_engines
from icebreaker_gui.panels.setup.engine.choice import usable
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Section, button, calm, label

_DEFAULT_FRACTION = 67  # per cent; what TF-TRT's users are used to
_STEP_BYTES = 100_000_000
_LEAST, _MOST = 0.05, 0.95


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


class GpuMemory(Section):
    """How the GPU's memory is shared between TensorFlow and the engines."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("GPU memory"))
        self._session = session
        self._limit = QCheckBox(self.tr("Limit TensorFlow's share"))
        self._slider = calm(QSlider(Qt.Orientation.Horizontal))
        self._slider.setRange(5, 95)
        self._slider.setValue(_DEFAULT_FRACTION)
        self._slider.setAccessibleName(self.tr("TensorFlow's share of the GPU's memory, in per cent"))
        self._words = label(look="muted", wrap=True)
        self._words.setFont(theme.font(0.9))
        self._excess = label(look="warning", wrap=True)
        self._limit.toggled.connect(self._on_changed)
        self._slider.valueChanged.connect(self._on_changed)
        tip = self.tr("TensorFlow's share and the engines' workspace make up the GPU's memory together")
        self._fit_share, self._fit_workspace = button("", tip, "link"), button("", tip, "link")
        self._fit_share.clicked.connect(lambda: session.change(memory_fraction=self._proposals()[0]))
        self._fit_workspace.clicked.connect(lambda: session.change(workspace_bytes=self._proposals()[1]))
        for widget in (self._limit, self._slider, self._words, self._excess, self._fit_share, self._fit_workspace):
            self.body.addWidget(widget)
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _on_changed(self) -> None:
        self._session.change(memory_fraction=self._slider.value() / 100 if self._limit.isChecked() else None)
        self._update()

    def _update(self) -> None:
        machine, fraction = self._session.machine, self._session.settings.memory_fraction
        here = bool(machine and machine.gpu)
        self._limit.setEnabled(here)
        self._slider.setEnabled(here and fraction is not None)
        with QSignalBlocker(self._limit), QSignalBlocker(self._slider):
            self._limit.setChecked(fraction is not None)
            if fraction is not None:
                self._slider.setValue(round(fraction * 100))
        if machine is None:
            text = self.tr("asking…")
        elif not here:
            text = self.tr("There is no NVIDIA GPU here: TensorFlow and the engines use main memory as they need it.")
        elif fraction is None:
            text = self.tr("TensorFlow takes what it wants of {all} on {gpu}").format(
                all=formatting.size(machine.gpu_memory_bytes), gpu=machine.gpu
            )
        else:
            own = machine.gpu_memory_bytes * fraction
            text = self.tr("TensorFlow {own} · engines {rest} of {all}").format(
                own=formatting.size(own),
                rest=formatting.size(machine.gpu_memory_bytes - own),
                all=formatting.size(machine.gpu_memory_bytes),
            )
        self._words.setText(text)
        for widget in (self._limit, self._slider):
            widget.setToolTip(text)
        self._excess.setVisible(self._exceeds())
        if machine and self._exceeds():
            self._excess.setText(
                self.tr("The workspace, {size}, is more than the {rest} that is left for engines.").format(
                    size=formatting.exact_size(self._session.settings.builder.workspace_bytes),
                    rest=formatting.size(left_for_engines(machine.gpu_memory_bytes, fraction)),
                )
            )
        share, workspace = self._proposals()
        self._fit_share.setVisible(share is not None and share != fraction)
        self._fit_workspace.setVisible(workspace is not None and share != fraction)
        self._fit_share.setText(self.tr("Share {share} leaves room for the workspace").format(share=share))
        self._fit_workspace.setText(
            self.tr("Workspace {size} fits this share").format(size=formatting.exact_size(workspace or 0))
        )

    def _exceeds(self) -> bool:
        """Whether the workspace is larger than what is left, and an engine that may be used has one."""
        machine, settings = self._session.machine, self._session.settings
        if not machine or not machine.gpu or not any(status.options for status in usable(self._session)):
            return False
        return settings.builder.workspace_bytes > left_for_engines(machine.gpu_memory_bytes, settings.memory_fraction)

    def _proposals(self) -> tuple[float | None, int | None]:
        """A share for the workspace of now, and a workspace for the share of now; None where there is none."""
        machine, settings = self._session.machine, self._session.settings
        if not machine or not machine.gpu:
            return None, None
        total, fraction = machine.gpu_memory_bytes, settings.memory_fraction
        return (
            fraction_for(total, settings.builder.workspace_bytes),
            None if fraction is None else workspace_for(total, fraction),
        )
