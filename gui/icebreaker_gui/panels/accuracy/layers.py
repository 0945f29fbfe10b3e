"""The layers that INT8 costs the most at, and which of them are kept in higher precision."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import QHeaderView, QTableWidgetItem, QVBoxLayout, QWidget

from icebreaker.reports import LayerCost
from icebreaker_gui.panels.accuracy.segments import no_layers_text, quantizations, tells_no_layers
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Table, label


class Layers(QWidget):
    """The layers, the worst first, each with a check mark that keeps it in 16 or 32 bits in later conversions."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layers: list[LayerCost] = []
        self._table = Table()
        self._table.setAccessibleName(self.tr("Layers"))
        self._table.setToolTip(self.tr("The layers that INT8 costs the most at; a mark keeps one in 16 or 32 bits"))
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
        self._layers, rows = [], []
        for quantization in quantizations(self._session.conversion).values():
            for layer in quantization.layers:
                in_int8 = quantization.int8_layers > 0 and not layer.kept
                state = self.tr("INT8") if in_int8 else self.tr("16 or 32 bits")
                noise = (layer.output_db, layer.own_db, layer.db)
                rows.append([layer.node or layer.layer, layer.op, state, *map(_db, noise)])
                self._layers.append(layer)
        headers = [
            self.tr("Keep in 16 or 32 bits"), self.tr("Op"), self.tr("Now"), self.tr("At the outputs, alone"),
            self.tr("At the layer, alone"), self.tr("With all before it"),
        ]  # fmt: skip
        with QSignalBlocker(self._table):
            self._table.fill(headers, rows, [layer.layer for layer in self._layers])
        self._table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._update()

    def _update(self) -> None:
        keep = self._session.settings.quantization.keep_float
        with QSignalBlocker(self._table):
            for row, layer in enumerate(self._layers):
                cell = self._table.item(row, 0)
                if cell and layer.node:
                    on = layer.node in keep
                    cell.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        done = self._session.converted_with
        if not self._layers:
            silent = tells_no_layers(self._session.conversion)
            text = no_layers_text() if silent else self.tr("No layer was quantized.")
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
        node = self._layers[cell.row()].node
        keep = [kept for kept in self._session.settings.quantization.keep_float if kept != node]
        if cell.checkState() == Qt.CheckState.Checked:
            keep.append(node)
        self._session.change(keep_float=tuple(keep))


def _db(value: float | None) -> str:
    """A ratio in decibels, as the table shows it."""
    return "–" if value is None else f"{value:.1f} dB"
