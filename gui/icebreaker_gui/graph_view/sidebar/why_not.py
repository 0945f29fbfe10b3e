"""The one list of reasons: what stays in TensorFlow, by segment, what that costs, and what helps.

What an engine or a check refuses, it refuses a segment at a time; such reasons stand apart, each with its time. What is
said of single ops stands together, by the kind of reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QPainter, QResizeEvent
from PySide6.QtWidgets import (
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from icebreaker.engine import registry
from icebreaker.messages import Message
from icebreaker.reports import REASONS, Left, Words
from icebreaker_gui.graph_view.overlays import REASON_STYLES
from icebreaker_gui.graph_view.painting.legend import swatch
from icebreaker_gui.graph_view.sidebar.coverage import Coverage, Shares, op_shares, time_shares
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import button, label
from icebreaker_gui.style.wording import translate, translated, worded

_NODE = Qt.ItemDataRole.UserRole
_GROUP, _HELP = _NODE + 1, _NODE + 2
_MOST_ROWS = 500
_HELP_HEIGHT = 26


def advice(code: str) -> str:
    """What would change it, in a sentence; "" where nothing would."""
    words = {
        "unsupported_op": translate("graph", "No engine here has a counterpart for it, so no setting changes this."),
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


class Help(NamedTuple):
    """What helps against a reason, as a button.

    Attributes:
        words: What the button says.
        do: What it does: `engine`, `precision`, `least` change that setting and convert again, `include` gives nodes
            back, `shapes` and `data` show where to choose them.
        value: The setting's value.
    """

    words: str
    do: str
    value: str = ""


def help_for(left: Left) -> Help | None:
    """What helps against the reason that a node is left; None where nothing does."""
    match left.code:
        case "not_faster":
            engine = _engine_of(left.reason)
            words = translate("graph", "Use {engine} anyway").format(engine=formatting.engine(engine))
            return Help(words, "engine", engine) if engine else None
        case "deviates":
            return Help(translate("graph", "Try FP32"), "precision", "fp32")
        case "unknown_shape":
            return Help(translate("graph", "Give a shape…"), "shapes")
        case "too_small":
            return Help(translate("graph", "Let small ones in"), "least", "1")
        case "no_data":
            return Help(translate("graph", "Choose sample data…"), "data")
        case "excluded":
            return Help(translate("graph", "Give back to engines"), "include")
        case _:
            return None


def _engine_of(reason: Words) -> str:
    """The engine that a reason is about, "" if it is about none or several."""
    while isinstance(reason, Message) and registry.find(reason.subject) is None:
        first = reason.values.get("first")
        reason = first if isinstance(first, Message) else ""
    return reason.subject if isinstance(reason, Message) else ""


# Reasons that are found a segment at a time.
_BY_SEGMENT = frozenset({"not_faster", "engine_refused", "deviates", "too_small", "no_data"})
_MOST_APART = 40  # segments that are told apart


def grouped(left: Iterable[Left]) -> list[tuple[Left, ...]]:
    """The nodes that are left, those together that share a segment's reason or, apart from segments, a kind of one."""
    groups: dict[tuple[str, str], list[Left]] = {}
    for item in left:
        apart = item.code in _BY_SEGMENT and len(groups) < _MOST_APART
        groups.setdefault((item.code, worded(item.reason) if apart else ""), []).append(item)
    return [tuple(group) for group in groups.values()]


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
        return QSize(needed.width(), needed.height() + 8 + (_HELP_HEIGHT if index.data(_HELP) else 0))

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        if index.data(_HELP):  # its button stands below the words
            option.rect.adjust(0, 0, 0, -_HELP_HEIGHT)  # pyright: ignore[reportAttributeAccessIssue]
        super().paint(painter, option, index)


class WhyNot(QWidget):
    """The panel: coverage, then reasons with their nodes."""

    jumpWanted = Signal(str)
    hoverWanted = Signal(str)
    reasonWanted = Signal(tuple)  # nodes of a reason, to be marked
    helpWanted = Signal(object, list)  # `Help`, and the nodes that it is for

    def __init__(self, state: GraphState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._swatches: dict[tuple[int, Qt.BrushStyle], QIcon] = {}
        self._figure = label()
        self._figure.setProperty("look", "title")
        self._figure.setWordWrap(True)
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
        self._tree.setToolTip(self.tr("What stays in TensorFlow, and why; choose a node to see it in the graph"))
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
        self._groups: list[tuple[Left, ...]] = []
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
        if conversion is None:
            self._figure.setText(self.tr("Convert the graph to see what stays in TensorFlow, and why."))
            return
        text = self.tr("{share} of the ops run in engines").format(share=formatting.percent(conversion.coverage))
        self._figure.setText(text)
        self._groups = sorted(grouped(conversion.left_in_tensorflow), key=self._rank)
        for number, nodes in enumerate(self._groups):
            self._add(number, nodes, now)
        if not self._groups:
            self._advice.setText(self.tr("Nothing stays in TensorFlow."))

    def _milliseconds(self, nodes: Iterable[Left]) -> float:
        """What these nodes take now, or took before, as far as it was measured."""
        profile = self._state.data.profile(True) or self._state.data.profile(False)
        times = profile.nodes if profile else {}
        return sum(times[left.node].ms for left in nodes if left.node in times)

    def _rank(self, nodes: tuple[Left, ...]) -> tuple[bool, float, int]:
        """What costs most first; placeholders and the like last."""
        return nodes[0].code == "passive", -self._milliseconds(nodes), -len(nodes)

    def _add(self, number: int, nodes: tuple[Left, ...], now: Shares | None) -> None:
        """Adds the row of a reason."""
        code = nodes[0].code
        hue, pattern = REASON_STYLES.get(code, REASON_STYLES["passive"])
        words = headline(code, list(nodes))
        profile = self._state.data.profile(True)
        share = self._milliseconds(nodes) / profile.total_ms if profile and profile.total_ms and now else 0.0
        if share > 0.0005:
            words += " · " + self.tr("{share} of the time now").format(share=formatting.percent(share))
        item = QTreeWidgetItem([words.replace(" %", "\u00a0%")])
        color = theme.hue(hue)
        key = color.rgba(), pattern
        if key not in self._swatches:  # Qt keeps drawn icons: new ones each time would fill its cache
            self._swatches[key] = swatch(color, pattern)
        item.setIcon(0, self._swatches[key])
        item.setData(0, _NODE, "")
        item.setData(0, _GROUP, number)
        item.setToolTip(0, tip(worded(nodes[0].reason)))
        item.setChildIndicatorPolicy(QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
        self._tree.addTopLevelItem(item)
        if helps := help_for(nodes[0]):
            item.setData(0, _HELP, helps.words)
            choice = button(helps.words, advice(code), "link")
            choice.clicked.connect(lambda: self.helpWanted.emit(helps, [left.node for left in nodes]))
            below = QWidget()
            column = QVBoxLayout(below)
            column.setContentsMargins(22, 0, 0, 0)
            column.addStretch()
            column.addWidget(choice, 0, Qt.AlignmentFlag.AlignLeft)
            self._tree.setItemWidget(item, 0, below)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fits what depends on the size."""
        super().resizeEvent(event)
        self._tree.scheduleDelayedItemsLayout()

    def _fill(self, item: QTreeWidgetItem) -> None:
        number = item.data(0, _GROUP)
        if number is None or item.childCount():
            return
        nodes = self._groups[number]
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
        number = item.data(0, _GROUP)
        if number is not None:
            nodes = self._groups[number]
            self._advice.setText(advice(nodes[0].code))
            self.reasonWanted.emit(tuple(left.node for left in nodes))
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
