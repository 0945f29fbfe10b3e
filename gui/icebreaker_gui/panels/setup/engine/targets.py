"""The GPUs that an engine is built for, which need not be in this machine."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import QCheckBox, QGridLayout, QWidget

from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import label

_COLUMNS = 3
# What a compute capability is called in shops.
_FAMILIES = {
    "7.5": "Turing: RTX 20, T4", "8.0": "Ampere: A100, A30", "8.6": "Ampere: RTX 30, A10", "8.9": "Ada: RTX 40, L4",
    "12.0": "Blackwell: RTX 50", "12.1": "Blackwell: DGX Spark",
}  # fmt: skip


class Targets(QWidget):
    """The compute capabilities that a plan is built for, as check boxes; none: all from 8.0 on."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(theme.SMALL)
        title = label(self.tr("Built for compute capability"))
        title.setToolTip(self.tr("GPUs that the engine shall run on; they need not be in this machine"))
        self._all = label(self.tr("all from 8.0 on"), "muted")
        self._grid.addWidget(title, 0, 0, 1, _COLUMNS - 1)
        self._grid.addWidget(self._all, 0, _COLUMNS - 1, Qt.AlignmentFlag.AlignRight)
        self._boxes: dict[str, QCheckBox] = {}

    def show_targets(self, targets: tuple[str, ...]) -> None:
        """Offers what the engine can build for."""
        if targets and tuple(self._boxes) != targets:
            for box in self._boxes.values():
                self._grid.removeWidget(box)
                box.deleteLater()
            self._boxes = {}
            for index, name in enumerate(targets):
                box = QCheckBox(name)
                box.setToolTip(_FAMILIES.get(name, self.tr("NVIDIA GPUs of compute capability {n}").format(n=name)))
                box.toggled.connect(self._on_toggled)
                self._boxes[name] = box
                self._grid.addWidget(box, 1 + index // _COLUMNS, index % _COLUMNS)
        chosen = self._session.settings.builder.compute_capabilities
        for name, box in self._boxes.items():
            with QSignalBlocker(box):
                box.setChecked(name in chosen)
        self._all.setVisible(not chosen)

    def _on_toggled(self) -> None:
        self._session.change(compute_capabilities=tuple(name for name, box in self._boxes.items() if box.isChecked()))
