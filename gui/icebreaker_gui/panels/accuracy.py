"""What INT8 costs: accuracy on held-back data, the worst layers, the trade-off, the ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QRectF, QSignalBlocker, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QSizePolicy,
    QSplitter,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker.reports.reports import Conversion, LayerCost, Quantization, TensorRange, TradeOff
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Table, breakable, label, set_look
from icebreaker_gui.style.wording import worded


def quantizations(conversion: Conversion | None) -> dict[str, Quantization]:
    """Segment → how it became INT8, or why it did not; empty where INT8 was not asked for."""
    segments = conversion.segments if conversion else ()
    return {item.name: item.quantization for item in segments if item.quantization}


class Accuracy(QWidget):
    """The finding and the outputs' figures beside the trade-off curve."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._finding = label()
        self._finding.setFont(theme.font(1.35, bold=True))
        self._words = label(look="muted", wrap=True, select=True)
        self._outputs = Table()
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.SMALL)
        for widget in (self._finding, self._words):
            column.addWidget(widget)
        column.addWidget(self._outputs, 1)
        self._curve = Curve()
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(left)
        split.addWidget(self._curve)
        split.setSizes([560, 380])
        split.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SMALL, 0, 0)
        layout.addWidget(split)
        session.conversionChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        conversion = self._session.conversion
        found = quantizations(conversion)
        if conversion is None or not found:
            return
        accuracy = conversion.accuracy
        layers = sum(item.int8_layers for item in found.values())
        lines = [worded(item.message) for item in found.values() if item.message]
        random = self._session.converted_with and self._session.converted_with.quantization.calibration == "random"
        if not layers:
            finding = self.tr("Nothing runs in INT8")
        elif accuracy is None or random:
            finding = self.tr("The accuracy is not known")
            if random:
                lines.insert(0, self.tr("It was calibrated on random data: no figure here means anything."))
        elif accuracy.top1_agreement is not None:
            finding = self.tr("{share} same top-1 answers").format(share=formatting.percent(accuracy.top1_agreement))
        else:
            finding = self.tr("{share} error at the worst output").format(share=formatting.percent(accuracy.error))
        set_look(self._finding, "finding" if layers and accuracy and not random else "muted")
        if accuracy:
            facts = [
                formatting.count(
                    accuracy.samples, self.tr("on {n} held-back sample"), self.tr("on {n} held-back samples")
                )
            ]
            if accuracy.top5_agreement is not None:
                facts.append(
                    self.tr("{share} within the top 5").format(share=formatting.percent(accuracy.top5_agreement))
                )
            if accuracy.original is not None and accuracy.optimized is not None:
                facts.append(
                    self.tr("right answers: {before} before, {after} after").format(
                        before=f"{100 * accuracy.original:.1f} %", after=f"{100 * accuracy.optimized:.1f} %"
                    )
                )
            lines.insert(0, " · ".join(facts))
        self._finding.setText(finding)
        self._words.setText(breakable("\n".join(dict.fromkeys(lines)), 60))
        outputs = accuracy.outputs if accuracy else {}
        self._outputs.setVisible(bool(outputs))
        self._outputs.fill(
            [self.tr("Output"), self.tr("Error"), self.tr("Cosine"), "SQNR", self.tr("Top-1")],
            [
                [
                    name,
                    formatting.scientific(item.max_rel),
                    f"{item.cosine:.5f}",
                    self.tr("identical") if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB",
                    "–" if item.top1_agreement is None else formatting.percent(item.top1_agreement),
                ]
                for name, item in outputs.items()
            ],
            [
                self.tr("{name}\nError: largest difference over the output's largest value").format(name=name)
                for name in outputs
            ],
        )
        longest = max(found.values(), key=lambda item: len(item.curve))
        self._curve.show_points(longest.curve, longest.int8_layers > 0)


class Curve(QWidget):
    """Error against latency of each number of layers kept in higher precision, with the point that was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[TradeOff, ...] = ()
        self._used = False
        self._words = label(look="muted", wrap=True)
        self._item = pg.PlotItem()
        self._plot = pg.PlotWidget(plotItem=self._item)
        self._item.setMenuEnabled(False)
        self._item.hideButtons()
        self._box: Any = self._item.vb
        self._box.setMouseEnabled(x=False, y=False)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setMinimumHeight(60)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, 0, 0, 0)
        layout.setSpacing(theme.SMALL)
        layout.addWidget(self._words)
        layout.addWidget(self._plot, 1)
        layout.addStretch()

    def show_points(self, points: Sequence[TradeOff], used: bool) -> None:
        """Replaces the curve; `used`: the chosen point is what the segment became."""
        self._points, self._used = tuple(points), used
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme: plot items keep their pens."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_plot"):
            self._draw()

    def _draw(self) -> None:
        points, look = self._points, theme.current()
        self._plot.setVisible(bool(points))
        self._item.clear()
        if not points:
            self._words.setText(
                self.tr("Set an accuracy budget in Setup to see what each layer kept in 16 or 32 bits costs and gains.")
            )
            return
        timed = all(item.latency_ms is not None for item in points)
        across = [item.latency_ms if timed and item.latency_ms is not None else item.kept for item in points]
        up = [100 * item.error for item in points]
        self._plot.setBackground(look.color("panel"))
        self._item.showGrid(x=True, y=True, alpha=0.4)
        words = {
            "bottom": self.tr("latency, ms") if timed else self.tr("layers kept in 16 or 32 bits"),
            "left": self.tr("error, %"),
        }
        for side, text in words.items():
            axis = self._item.getAxis(side)
            axis.setLabel(text, siPrefixEnableRanges=())  # else what lies below 1 is shown a thousandfold
            axis.setPen(look.color("border"))
            axis.setTextPen(look.color("muted"))
            axis.label.setDefaultTextColor(look.color("muted"))
        line = pg.mkPen(look.color("optimized", 0.6), width=2)
        self._item.addItem(
            pg.PlotDataItem(
                across, up, pen=line, symbol="o", symbolSize=7, symbolBrush=look.color("optimized"), symbolPen=None,
                antialias=True,
            )
        )  # fmt: skip
        chosen = next((index for index, item in enumerate(points) if item.chosen), None)
        if chosen is not None:
            ring = pg.mkPen(look.color("text"), width=2)
            spot = pg.ScatterPlotItem([across[chosen]], [up[chosen]], size=15, brush=None, pen=ring)
            self._item.addItem(spot)
        self._box.setXRange(min(across), max(across), padding=0.12)
        self._box.setYRange(0, 1.2 * max(up) or 1, padding=0.15)
        if chosen is None:
            self._words.setText(self.tr("No point keeps the budget."))
            return
        kept = points[chosen].kept
        one, many = self.tr("{n} layer kept in 16 or 32 bits"), self.tr("{n} layers kept in 16 or 32 bits")
        facts = [formatting.count(kept, one, many) if kept else self.tr("every layer in INT8")]
        if (latency := points[chosen].latency_ms) is not None:
            facts.append(formatting.milliseconds(latency))
        if (different := points[chosen].disagreement) is not None:
            facts.append(self.tr("{share} different top-1 answers").format(share=formatting.percent(different)))
        head = self.tr("Chosen") if self._used else self.tr("Best that was tried")
        self._words.setText(f"{head}: {' · '.join(facts)}")


class Layers(QWidget):
    """The layers, the worst first, each with a check mark that keeps it in 16 or 32 bits in later conversions."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layers: list[LayerCost] = []
        self._table = Table()
        self._table.itemChanged.connect(self._on_changed)
        self._words = label(look="muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SMALL, 0, 0)
        layout.setSpacing(theme.SMALL)
        layout.addWidget(self._words)
        layout.addWidget(self._table, 1)
        session.conversionChanged.connect(self._fill)
        session.settingsChanged.connect(self._update)
        self._fill()

    def _fill(self) -> None:
        found = quantizations(self._session.conversion)
        told = [(layer, item.int8_layers > 0) for item in found.values() for layer in item.layers]
        self._layers = [layer for layer, _ in told]
        rows = []
        for item, used in told:
            state = self.tr("INT8") if used and not item.kept else self.tr("16 or 32 bits")
            rows.append([item.node or item.layer, item.op, state, _db(item.output_db), _db(item.own_db), _db(item.db)])
        headers = [
            self.tr("Keep in 16 or 32 bits"), self.tr("Op"), self.tr("Now"), self.tr("At the outputs, alone"),
            self.tr("At the layer, alone"), self.tr("With all before it"),
        ]  # fmt: skip
        with QSignalBlocker(self._table):
            self._table.fill(headers, rows, [item.layer for item in self._layers])
        self._table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._update()

    def _update(self) -> None:
        keep = self._session.settings.quantization.keep_float
        with QSignalBlocker(self._table):
            for row, item in enumerate(self._layers):
                cell = self._table.item(row, 0)
                if cell and item.node:
                    on = item.node in keep
                    cell.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        done = self._session.converted_with
        if not self._layers:
            found = quantizations(self._session.conversion).values()
            nncf = any(item.method == "nncf" for item in found)
            text = _nncf_words(self) if nncf else self.tr("No layer was quantized.")
        elif done and done.quantization.keep_float != keep:
            text = self.tr("Press Convert again to build the graph with the layers that you have chosen to keep.")
        else:
            text = self.tr(
                "Signal to noise, the worst layer first: 20 dB is an error of a tenth of the values, 40 dB a hundredth."
            )
        self._words.setText(text)

    def _on_changed(self, cell: QTableWidgetItem) -> None:
        if cell.column() or cell.row() >= len(self._layers):
            return
        name = self._layers[cell.row()].node
        keep = [item for item in self._session.settings.quantization.keep_float if item != name]
        if cell.checkState() == Qt.CheckState.Checked:
            keep.append(name)
        self._session.change(keep_float=tuple(keep))


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


class Ranges(QWidget):
    """What numbers FP32, FP16 and INT8 can hold, and what a tensor of the graph needs."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._tensors: list[TensorRange] = []
        self._nncf = False
        self._choice = QComboBox()
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
        found = quantizations(self._session.conversion)
        self._nncf = any(item.method == "nncf" for item in found.values())
        told = [(name, item) for name, told in found.items() for item in told.tensors if item.threshold > 0]
        self._tensors = [item for _, item in told]
        with QSignalBlocker(self._choice):
            self._choice.clear()
            for segment, item in told:
                name = item.node or item.tensor
                self._choice.addItem(name if len(found) == 1 else f"{segment}: {name}")
        self._choice.setEnabled(bool(self._tensors))
        self._show()

    def _show(self) -> None:
        index = self._choice.currentIndex()
        tensor = self._tensors[index] if 0 <= index < len(self._tensors) else None
        self._scale.show_tensor(tensor)
        self._histogram.show_tensor(tensor)
        self._choice.setToolTip(self._choice.currentText())
        if tensor:
            text = self.tr("seen {low} to {high} · clipped above {threshold} · one step is {step}").format(
                low=f"{tensor.low:.4g}", high=f"{tensor.high:.4g}", threshold=f"{tensor.threshold:.4g}",
                step=f"{tensor.threshold / 127:.3g}",
            )  # fmt: skip
        elif self._nncf:
            text = _nncf_words(self)
        else:
            text = self.tr("No tensor's range is known.")
        self._words.setText(text)


def _nncf_words(widget: QWidget) -> str:
    return widget.tr(
        "NNCF's INT8 was chosen, which does not tell of single layers. Choose Icebreaker as the quantizer to see them."
    )


# |x| that a type can hold: the smallest above 0 and the largest, and both in words.
_TYPES: Mapping[str, tuple[float, float, str]] = {
    "FP32": (1.4e-45, 3.4e38, "±3.4e38 · 1.4e-45"),
    "FP16": (5.96e-8, 65504.0, "±65504 · 5.96e-8"),
    "INT8": (1.0, 128.0, "−128..127 · 1"),
}
_DECADES = (-46.0, 40.0)


class Scale(QWidget):
    """The magnitudes from 1e-46 to 1e40, a bar for each type, and one for INT8 scaled to the chosen tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._tensor: TensorRange | None = None
        self.setMinimumHeight(110)

    def show_tensor(self, tensor: TensorRange | None) -> None:
        """Draws its threshold."""
        self._tensor = tensor
        self.update()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the bars, the axis below them, and the threshold through all of them."""
        look, tensor = theme.current(), self._tensor
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        bars = [(name, low, high, words, "faint") for name, (low, high, words) in _TYPES.items()]
        if tensor:
            words = f"±{tensor.threshold:.3g} · {tensor.threshold / 127:.2g}"
            bars.append((self.tr("INT8, scaled"), tensor.threshold / 127, tensor.threshold, words, "optimized"))
        left = max(metrics.horizontalAdvance(name) for name, *_ in bars) + theme.SPACE
        right = max(metrics.horizontalAdvance(words) for *_, words, _ in bars) + theme.LARGE
        width, axis = self.width() - left - right, metrics.height() + theme.SPACE
        height = min(36.0, (self.height() - axis) / len(bars))

        def x(value: float) -> float:
            return left + (math.log10(value) - _DECADES[0]) / (_DECADES[1] - _DECADES[0]) * width

        bottom = height * len(bars)
        for decade in range(-40, 41, 10):
            at = x(10.0**decade)
            painter.setPen(QPen(look.color("grid"), 1))
            painter.drawLine(round(at), 0, round(at), round(bottom))
            painter.setPen(look.color("muted"))
            text = f"1e{decade}" if decade else "1"
            painter.drawText(QRectF(at - 30, bottom + 2, 60, axis), Qt.AlignmentFlag.AlignHCenter, text)
        middle, thick = Qt.AlignmentFlag.AlignVCenter, min(16.0, height * 0.55)
        for row, (name, low, high, words, color) in enumerate(bars):
            top = row * height
            painter.setPen(look.color("text"))
            painter.drawText(QRectF(0, top, left, height), middle | Qt.AlignmentFlag.AlignLeft, name)
            painter.setPen(look.color("muted"))
            painter.drawText(QRectF(left + width, top, right, height), middle | Qt.AlignmentFlag.AlignRight, words)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(look.color(color))
            bar = QRectF(x(low), top + (height - thick) / 2, max(4.0, x(high) - x(low)), thick)
            painter.drawRoundedRect(bar, 3, 3)
        if tensor:
            at = x(tensor.threshold)
            painter.setPen(QPen(look.color("original"), 2, Qt.PenStyle.DashLine))
            painter.drawLine(round(at), 0, round(at), round(bottom))
        self.setAccessibleName(" · ".join(f"{name} {words}" for name, _, _, words, _ in bars))


class Histogram(QWidget):
    """How often a tensor's magnitudes came by on held-back data, up to its threshold, and what is clipped beyond it."""

    def __init__(self) -> None:
        super().__init__()
        self._tensor: TensorRange | None = None

    def show_tensor(self, tensor: TensorRange | None) -> None:
        """Draws its values."""
        self._tensor = tensor if tensor and any(tensor.counts) else None
        self.setVisible(self._tensor is not None)
        self.update()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the bars, in a logarithmic scale, and the threshold."""
        if self._tensor is None:
            return
        look, tensor = theme.current(), self._tensor
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = painter.fontMetrics().height()
        step = tensor.span / len(tensor.counts)
        last = max(index for index, count in enumerate(tensor.counts) if count)
        end = max((last + 1) * step, tensor.threshold) * 1.04
        top, bottom = line + theme.SMALL, self.height() - line - theme.SMALL
        scale = (bottom - top) / math.log1p(max(tensor.counts))

        def x(value: float) -> float:
            return value / end * (self.width() - 1)

        beyond = sum(count for index, count in enumerate(tensor.counts) if index * step >= tensor.threshold)
        share = formatting.percent(beyond / sum(tensor.counts))
        words = self.tr("|x| on held-back data, logarithmic · {share} clipped").format(share=share)
        painter.setPen(look.color("muted"))
        whole = QRectF(0, 0, self.width(), line)
        painter.drawText(whole, Qt.AlignmentFlag.AlignLeft, painter.fontMetrics().elidedText(
            words, Qt.TextElideMode.ElideRight, self.width()
        ))  # fmt: skip
        painter.setPen(Qt.PenStyle.NoPen)
        for index, count in enumerate(tensor.counts[: last + 1]):
            clipped = index * step >= tensor.threshold
            painter.setBrush(look.color("original" if clipped else "optimized"))
            tall = math.log1p(count) * scale
            painter.drawRect(QRectF(x(index * step), bottom - tall, max(1.0, x(step) - 1), tall))
        painter.setPen(QPen(look.color("border"), 1))
        painter.drawLine(0, round(bottom), self.width(), round(bottom))
        at = x(tensor.threshold)
        painter.setPen(QPen(look.color("original"), 2, Qt.PenStyle.DashLine))
        painter.drawLine(round(at), round(top), round(at), round(bottom))
        painter.setPen(look.color("muted"))
        foot = QRectF(0, bottom + 2, self.width(), line)
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, "0")
        label = f"{tensor.threshold:.3g}"
        wide = painter.fontMetrics().horizontalAdvance(label)
        left = min(max(0.0, at - wide / 2), self.width() - wide)
        painter.drawText(QRectF(left, bottom + 2, wide + 2, line), Qt.AlignmentFlag.AlignLeft, label)
        self.setAccessibleName(words)
