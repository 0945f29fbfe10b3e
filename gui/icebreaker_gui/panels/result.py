"""The Result dock: what a conversion made, what it left in TensorFlow, and why."""

from __future__ import annotations

import collections

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QSplitter,
    QTabWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker.reports import REASONS, Conversion, Left, SegmentReport
from icebreaker_gui.panels.accuracy.layers import Layers
from icebreaker_gui.panels.accuracy.ranges import Ranges
from icebreaker_gui.panels.accuracy.segments import quantizations
from icebreaker_gui.panels.accuracy.summary import Accuracy
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Table, breakable, clear, label
from icebreaker_gui.style.wording import translated, worded


class Result(QWidget):
    """A line of key figures over the segments and the nodes left in TensorFlow."""

    nodeActivated = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._groups: dict[str, list[Left]] = {}
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._figures = QHBoxLayout()
        self._figures.setSpacing(theme.HUGE)
        self._warnings = label(look="warning", wrap=True, select=True)
        self._segments = Table()
        self._left = QTreeWidget()
        self._left.setHeaderLabels([self.tr("Left in TensorFlow"), self.tr("Op")])
        self._left.setUniformRowHeights(True)
        self._left.header().setStretchLastSection(False)
        self._left.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._left.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self._left.itemExpanded.connect(self._fill_group)
        self._left.itemActivated.connect(lambda row, _column: row.parent() and self.nodeActivated.emit(row.text(0)))
        self._segments.cellActivated.connect(
            lambda row, _column: self.nodeActivated.emit(self._segments.model().index(row, 0).data())
        )
        self._left.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._left.setAlternatingRowColors(True)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self._segments)
        split.addWidget(self._left)
        split.setSizes([620, 330])
        split.setChildrenCollapsible(False)
        self._empty = label(self.tr("Nothing has been converted yet. Press Convert, and see here what became of it."))
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
        self._tabs.addTab(split, self.tr("Segments"))
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
        self._update()

    def _update(self) -> None:
        conversion = self._session.conversion
        self._full.setVisible(conversion is not None)
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
            [
                self.tr("Segment"), self.tr("Engine"), self.tr("Nodes"), self.tr("TensorFlow → engine"),
                self.tr("Faster"), self.tr("Deviation"),
            ],
            [self._row(segment) for segment in conversion.segments],
            [self._tip(segment) for segment in conversion.segments],
        )  # fmt: skip
        self._show_left(conversion)

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
        measured = segment.tensorflow_ms > 0 and segment.engine_ms > 0
        times = self.tr("not run here") if not segment.runs_here else "–"
        if measured:
            times = f"{formatting.milliseconds(segment.tensorflow_ms)} → {formatting.milliseconds(segment.engine_ms)}"
        return [
            segment.name,
            f"{formatting.engine(segment.engine)} {formatting.precision(segment.precision)}",
            str(len(segment.nodes)),
            times,
            formatting.ratio(segment.tensorflow_ms / segment.engine_ms) if measured else "–",
            formatting.scientific(segment.deviation) if segment.runs_here else self.tr("not checked"),
        ]

    def _tip(self, segment: SegmentReport) -> str:
        """What else is known of a segment: its tensors and every engine that was tried for it."""
        lines = [
            self.tr("in: {names}").format(names=", ".join(segment.inputs[:4])),
            self.tr("out: {names}").format(names=", ".join(segment.outputs[:4])),
            self.tr("built in {n:.2f} s").format(n=segment.build_seconds),
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

    def _show_left(self, conversion: Conversion) -> None:
        self._left.clear()
        self._groups = collections.defaultdict(list)
        for left in conversion.left_in_tensorflow:
            self._groups[left.code].append(left)
        look = theme.current()
        for code, nodes in sorted(self._groups.items(), key=lambda pair: (pair[0] == "passive", -len(pair[1]))):
            head = QTreeWidgetItem([translated(REASONS.get(code, code)), str(len(nodes))])
            head.setData(0, Qt.ItemDataRole.UserRole, code)
            head.setToolTip(0, tip(head.text(0)))
            head.setForeground(0, look.reason(code))
            head.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
            self._left.addTopLevelItem(head)

    def _fill_group(self, head: QTreeWidgetItem) -> None:
        """Makes a group's rows when it is opened: a big graph has tens of thousands."""
        if head.childCount():
            return
        rows = []
        for left in self._groups[head.data(0, Qt.ItemDataRole.UserRole)]:
            row = QTreeWidgetItem([left.node, left.op])
            row.setToolTip(0, tip(f"{left.node}\n{worded(left.reason)}"))
            rows.append(row)
        head.addChildren(rows)


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
