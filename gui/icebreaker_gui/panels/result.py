"""The Result dock: what a conversion made; what it left in TensorFlow stands beside the graph, with the reasons."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QTabWidget, QVBoxLayout, QWidget

from icebreaker.reports import Conversion, SegmentReport
from icebreaker_gui.panels.accuracy.layers import Layers
from icebreaker_gui.panels.accuracy.ranges import Ranges
from icebreaker_gui.panels.accuracy.segments import quantizations
from icebreaker_gui.panels.accuracy.summary import Accuracy
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.counting import real_ops
from icebreaker_gui.style.widgets import Table, breakable, clear, label
from icebreaker_gui.style.wording import worded


class Result(QWidget):
    """A line of key figures over the segments; for INT8, its accuracy."""

    nodeActivated = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._figures = QHBoxLayout()
        self._figures.setSpacing(theme.HUGE)
        self._warnings = label(look="warning", wrap=True, select=True)
        self._segments = Table()
        self._segments.setAccessibleName(self.tr("Segments"))
        self._segments.setToolTip(self.tr("The parts of the graph that became engines"))
        self._segments.cellActivated.connect(
            lambda row, _column: self.nodeActivated.emit(self._segments.model().index(row, 0).data())
        )
        self._empty = label()
        self._empty.setProperty("look", "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._full = QWidget()
        column = QVBoxLayout(self._full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.SPACE)
        column.addLayout(self._figures)
        column.addWidget(self._warnings)
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._tabs.addTab(self._segments, self.tr("Segments"))
        for panel, title in (
            (Accuracy(session), self.tr("Accuracy")),
            (Layers(session), self.tr("Worst layers")),
            (Ranges(session), self.tr("Ranges")),
        ):
            self._tabs.addTab(panel, title)
        column.addWidget(self._tabs, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, theme.SPACE, 12, theme.SPACE)
        layout.addWidget(self._full)
        layout.addWidget(self._empty)
        session.conversionChanged.connect(self._update)
        session.graphChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        conversion = self._session.conversion
        self._full.setVisible(conversion is not None)
        inspection = self._session.inspection
        self._empty.setText(
            self.tr("This graph is optimized already. Press Measure to race it, or convert its original anew.")
            if inspection and inspection.engines
            else self.tr("Nothing has been converted yet. Press Convert, and see here what became of it.")
        )
        self._empty.setVisible(conversion is None)
        if conversion is None:
            return
        self._show_figures(conversion)
        quantized = bool(quantizations(conversion))
        for index in range(1, self._tabs.count()):
            self._tabs.setTabVisible(index, quantized)
        self._tabs.tabBar().setVisible(quantized)
        self._warnings.setText(breakable("\n".join(f"• {worded(text)}" for text in conversion.warnings), 60))
        self._warnings.setVisible(bool(conversion.warnings))
        self._segments.fill(
            [self.tr("Segment"), self.tr("Engine"), self.tr("Ops"), self.tr("Built in"), self.tr("Deviation")],
            [self._row(segment) for segment in conversion.segments],
            [self._tip(segment) for segment in conversion.segments],
        )  # fmt: skip

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme: items keep the colours they were made with."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_full"):
            self._update()

    def _show_figures(self, conversion: Conversion) -> None:
        clear(self._figures)
        segments = len(conversion.segments)
        left = sum(left.code != "passive" for left in conversion.left_in_tensorflow)
        engines = " + ".join(dict.fromkeys(formatting.engine(segment.engine) for segment in conversion.segments))
        for value, words in (
            (formatting.percent(conversion.coverage), self.tr("of the real ops in engines")),
            (
                str(segments),
                (self.tr("segment") if segments == 1 else self.tr("segments")) + (engines and f" · {engines}"),
            ),
            (str(left), self.tr("op left in TensorFlow") if left == 1 else self.tr("ops left in TensorFlow")),
            (self.tr("{n:.1f} s").format(n=conversion.seconds), self.tr("to convert")),
        ):
            self._figures.addWidget(_figure(value, words))
        self._figures.addStretch()

    def _row(self, segment: SegmentReport) -> list[str]:
        """A segment's cells in the table."""
        return [
            segment.name,
            f"{formatting.engine(segment.engine)} {formatting.precision(segment.precision)}",
            str(real_ops(self._session.graph, segment)),
            self.tr("{n:.2f} s").format(n=segment.build_seconds),
            formatting.scientific(segment.deviation) if segment.runs_here else self.tr("not checked"),
        ]

    def _trial(self, segment: SegmentReport) -> list[str]:
        """What was timed while converting, to choose the engine: no speed of the graph, which is raced as a whole."""
        if not segment.tensorflow_ms or not segment.engine_ms:
            return []
        times = formatting.milliseconds(segment.tensorflow_ms), formatting.milliseconds(segment.engine_ms)
        return [self.tr("tried by itself: {before} in TensorFlow, {now} in the engine").format(
            before=times[0], now=times[1]
        )]  # fmt: skip

    def _tip(self, segment: SegmentReport) -> str:
        """What else is known of a segment: its tensors and every engine that was tried for it."""
        lines = [
            self.tr("in: {names}").format(names=", ".join(segment.inputs[:4])),
            self.tr("out: {names}").format(names=", ".join(segment.outputs[:4])),
            *self._trial(segment),
            *map(worded, segment.notes),
        ]
        if segment.candidates:
            lines.append(self.tr("Tried:"))
        for candidate in segment.candidates:
            parts = [formatting.engine(candidate.engine)]
            if candidate.precision:
                parts.append(formatting.precision(candidate.precision))
            if candidate.ms:
                parts.append(formatting.milliseconds(candidate.ms))
            if candidate.note:
                parts.append(worded(candidate.note))
            lines.append("  " + " · ".join(parts))
        return "\n".join(lines)


def _figure(value: str, words: str) -> QWidget:
    """A key figure: the value large, what it means beside it."""
    result = QWidget()
    row = QHBoxLayout(result)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(6)
    large = label(value)
    large.setFont(theme.font(1.35, bold=True))
    row.addWidget(large)
    row.addWidget(label(words, "muted"))
    return result
