"""The why-not list: what stays in TensorFlow, by reason, and what would change it."""

from __future__ import annotations

import re

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QResizeEvent
from PySide6.QtWidgets import (
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker.reports import REASONS, Left
from icebreaker_gui.graph_view.overlays import REASON_STYLES
from icebreaker_gui.graph_view.painting.legend import swatch
from icebreaker_gui.graph_view.sidebar.coverage import Coverage, op_shares, time_shares
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import label
from icebreaker_gui.style.wording import translate, translated, worded

_NODE = Qt.ItemDataRole.UserRole
_MOST_ROWS = 500


def advice(code: str) -> str:
    """What would change it, in a sentence; "" where nothing would."""
    words = {
        "unsupported_op": translate(
            "graph", "No setting changes this: the engines have no such op. Another engine may."
        ),
        "unsupported_attribute": translate("graph", "Another engine or precision may take it."),
        "unknown_shape": translate("graph", "Give the inputs complete shapes, or a largest batch, and convert again."),
        "excluded": translate("graph", "Take it off the excluded nodes to let it be converted."),
        "control_flow": translate(
            "graph", "Loops and branches stay in TensorFlow; what lies between them can be converted."
        ),
        "too_small": translate(
            "graph", "Lower the minimum segment size to let it become an engine. Small engines seldom pay."
        ),
        "engine_refused": translate(
            "graph", "Try another engine, or exclude the node that it names so that the rest can be built."
        ),
        "deviates": translate("graph", "Choose a higher precision, or give sample data that is like your own."),
        "not_faster": translate(
            "graph", "Nothing is lost: TensorFlow is as fast here. A larger batch or lower precision may change it."
        ),
        "no_data": translate("graph", "Give sample data (.npz) so that the engine can be checked."),
        "side_effect": translate("graph", "It must run exactly as the graph says, so it stays."),
    }
    return words.get(code, "")


class _Wrapping(QStyledItemDelegate):
    """Rows as tall as their words need in the width that there is."""

    def __init__(self, tree: QTreeWidget) -> None:
        super().__init__(tree)
        self._tree = tree

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        tree = self._tree
        used = tree.indentation() * (2 if index.parent().isValid() else 1) + (0 if index.parent().isValid() else 24)
        room = QRect(0, 0, max(40, tree.viewport().width() - used - 26), 10_000)
        words = index.data(Qt.ItemDataRole.DisplayRole)
        flags = Qt.TextFlag.TextWordWrap if " " in words else Qt.TextFlag.TextWrapAnywhere
        needed = tree.fontMetrics().boundingRect(room, int(flags), words)
        return QSize(needed.width(), needed.height() + 8)


class WhyNot(QWidget):
    """The panel: coverage, then reasons with their nodes."""

    jumpWanted = Signal(str)
    hoverWanted = Signal(str)
    reasonWanted = Signal(tuple)  # nodes of a reason, to be marked

    def __init__(self, state: GraphState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._swatches: dict[tuple[int, Qt.BrushStyle], QIcon] = {}
        self._figure = label()
        self._figure.setProperty("look", "title")
        self._figure.setWordWrap(True)
        self._times = label()
        self._times.setWordWrap(True)
        self._times.setProperty("look", "muted")
        self._bars = (
            Coverage(self.tr("ops")), Coverage(self.tr("time before")), Coverage(self.tr("time now"))
        )  # fmt: skip
        self._tree = QTreeWidget()
        self._tree.setHeaderHidden(True)
        self._tree.setColumnCount(1)
        self._tree.setIndentation(14)
        self._tree.setUniformRowHeights(False)
        self._tree.setTextElideMode(Qt.TextElideMode.ElideNone)
        self._tree.setWordWrap(True)
        self._tree.setItemDelegate(_Wrapping(self._tree))
        self._tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._tree.setMouseTracking(True)
        self._tree.setAccessibleName(self.tr("What stays in TensorFlow, by reason"))
        self._tree.itemEntered.connect(lambda item, _column: self.hoverWanted.emit(item.data(0, _NODE) or ""))
        self._tree.currentItemChanged.connect(self._chosen)
        self._tree.itemExpanded.connect(self._fill)
        self._advice = label()
        self._advice.setWordWrap(True)
        self._advice.setProperty("look", "muted")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.setSpacing(theme.SPACE)
        layout.addWidget(self._figure)
        layout.addWidget(self._times)
        bars = QVBoxLayout()
        bars.setSpacing(theme.TINY)
        for bar in self._bars:
            bars.addWidget(bar)
        layout.addLayout(bars)
        layout.addWidget(self._tree, 1)
        layout.addWidget(self._advice)
        state.graphChanged.connect(self.refresh)
        state.lookChanged.connect(self.refresh)
        self._shown: object = None
        self._groups: dict[str, list[Left]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Shows the current conversion."""
        conversion = self._state.data.conversion
        shown = (id(conversion), id(self._state.data.benchmark), theme.current().name)
        if shown == self._shown:
            return
        self._shown = shown
        self._tree.clear()
        self._advice.clear()
        now = time_shares(self._state.data, True)
        shares = [op_shares(self._state.data) if conversion else None, time_shares(self._state.data, False), now]
        for bar, found in zip(self._bars, shares, strict=True):
            bar.show_shares(found)
        self._times.setVisible(False)
        if conversion is None:
            self._figure.setText(self.tr("Convert the graph to see what stays in TensorFlow, and why."))
            return
        text = self.tr("{share} of the ops run in engines").format(share=formatting.percent(conversion.coverage))
        self._figure.setText(text)
        before = sum(segment.tensorflow_ms for segment in conversion.segments)
        if before:
            after = sum(segment.engine_ms for segment in conversion.segments)
            text = self.tr("Their time: {before} in TensorFlow, {after} now").format(
                before=formatting.milliseconds(before), after=formatting.milliseconds(after)
            )
            self._times.setText(text)
        self._times.setVisible(bool(before))
        self._groups = {}
        for left in conversion.left_in_tensorflow:
            self._groups.setdefault(left.code, []).append(left)
        # Reasons that can be changed first; placeholders and the like last.
        for code, nodes in sorted(self._groups.items(), key=lambda entry: (entry[0] == "passive", -len(entry[1]))):
            hue, pattern = REASON_STYLES.get(code, REASON_STYLES["passive"])
            words = headline(code, nodes)
            if now and now.reasons.get(code, 0.0) > 0.0005:
                words += " · " + self.tr("{share} of the time now").format(share=formatting.percent(now.reasons[code]))
            item = QTreeWidgetItem([words.replace(" %", "\u00a0%")])
            color = theme.hue(hue)
            key = color.rgba(), pattern
            if key not in self._swatches:  # Qt keeps drawn icons: new ones each time would fill its cache
                self._swatches[key] = swatch(color, pattern)
            item.setIcon(0, self._swatches[key])
            item.setData(0, _NODE, "")
            item.setData(0, _NODE + 1, code)
            item.setToolTip(0, tip(translated(REASONS.get(code, code))))
            item.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
            self._tree.addTopLevelItem(item)
        if not self._groups:
            self._advice.setText(self.tr("Nothing stays in TensorFlow."))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fits what depends on the size."""
        super().resizeEvent(event)
        self._tree.scheduleDelayedItemsLayout()

    def _fill(self, item: QTreeWidgetItem) -> None:
        code = item.data(0, _NODE + 1)
        if not code or item.childCount():
            return
        nodes = self._groups.get(code, [])
        for left in nodes[:_MOST_ROWS]:
            row = QTreeWidgetItem([left.node])
            row.setData(0, _NODE, left.node)
            row.setToolTip(0, tip(f"{left.op}\n{worded(left.reason)}"))
            item.addChild(row)
        if len(nodes) > _MOST_ROWS:
            item.addChild(QTreeWidgetItem([self.tr("and {n} more").format(n=len(nodes) - _MOST_ROWS)]))

    def _chosen(self, item: QTreeWidgetItem | None, _before: object = None) -> None:
        if item is None:
            return
        code = item.data(0, _NODE + 1)
        if code:
            self._advice.setText(advice(code))
            self.reasonWanted.emit(tuple(left.node for left in self._groups.get(code, ())))
        elif node := item.data(0, _NODE):
            left = self._state.data.left.get(node)
            self._advice.setText(f"{worded(left.reason)}\n{advice(left.code)}" if left else "")
            self.jumpWanted.emit(node)


def headline(code: str, nodes: list[Left]) -> str:
    """One line for a reason, such as "14 ops: no converter for StringSplit"."""
    count = translate("graph", "{n} ops").format(n=len(nodes)) if len(nodes) != 1 else translate("graph", "1 op")
    texts = {re.sub(r"\s+", " ", worded(left.reason)) for left in nodes}
    if code == "unsupported_op":
        ops = sorted({left.op for left in nodes})
        words = translate("graph", "no converter for {ops}").format(
            ops=", ".join(ops[:3]) + (" …" if len(ops) > 3 else "")
        )
    else:
        words = texts.pop() if len(texts) == 1 else ""
        if not words or len(words) > 100:  # an engine's own words can be a page: the node's details have them all
            words = translated(REASONS.get(code, code))
    return f"{count}: {words}"
