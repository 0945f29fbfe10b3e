"""The range of numbers that each tensor needs, which INT8 has to hold."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from icebreaker.reports import TensorRange
from icebreaker_gui.panels.accuracy.range_plots import Histogram, Scale
from icebreaker_gui.panels.accuracy.segments import no_layers_text, quantizations, tells_no_layers
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import calm, label


class Ranges(QWidget):
    """What numbers FP32, FP16 and INT8 can hold, and what a tensor of the graph needs."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._tensors: list[TensorRange] = []
        self._choice = calm(QComboBox())
        self._choice.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._choice.setMinimumContentsLength(12)  # a long name is not to widen the dock
        self._choice.currentIndexChanged.connect(self._show)
        self._words = label(look="muted", wrap=True)
        self._scale = Scale()
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE)
        head.addWidget(label(self.tr("Tensor")))
        head.addWidget(self._choice, 1)
        head.addWidget(self._words, 2)
        self._histogram = Histogram()
        body = QHBoxLayout()
        body.setSpacing(theme.LARGE)
        body.addWidget(self._scale, 3)
        body.addWidget(self._histogram, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SMALL, 0, 0)
        layout.setSpacing(theme.SMALL)
        layout.addLayout(head)
        layout.addLayout(body, 1)
        session.conversionChanged.connect(self._fill)
        self._fill()

    def _fill(self) -> None:
        segments = quantizations(self._session.conversion)
        self._tensors = []
        with QSignalBlocker(self._choice):
            self._choice.clear()
            for segment, quantization in segments.items():
                for tensor in quantization.tensors:
                    if tensor.threshold > 0:
                        name = tensor.node or tensor.tensor
                        self._choice.addItem(name if len(segments) == 1 else f"{segment}: {name}")
                        self._tensors.append(tensor)
        self._choice.setEnabled(bool(self._tensors))
        self._show()

    def _show(self) -> None:
        index = self._choice.currentIndex()
        tensor = self._tensors[index] if 0 <= index < len(self._tensors) else None
        self._scale.show_tensor(tensor)
        self._histogram.show_tensor(tensor)
        self._choice.setToolTip(tip(self._choice.currentText()))
        if tensor:
            text = self.tr("seen {low} to {high} · clipped above {threshold} · one step is {step}").format(
                low=f"{tensor.low:.4g}", high=f"{tensor.high:.4g}", threshold=f"{tensor.threshold:.4g}",
                step=f"{tensor.threshold / 127:.3g}",
            )  # fmt: skip
        elif tells_no_layers(self._session.conversion):
            text = no_layers_text()
        else:
            text = self.tr("No tensor's range is known.")
        self._words.setText(text)
