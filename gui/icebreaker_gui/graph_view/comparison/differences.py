"""The list of all differences, by kind, with what is different in each."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication, QIcon, QKeySequence, QShortcut
from PySide6.QtWidgets import QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from icebreaker.reports import GraphDiff, NodeChange
from icebreaker_gui.graph_view.comparison.union import KINDS
from icebreaker_gui.graph_view.painting.legend import swatch
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import label
from icebreaker_gui.style.wording import translate

_KEY = Qt.ItemDataRole.UserRole
_MOST_ROWS = 2000  # of a kind; the filter finds the others


def change_lines(change: NodeChange) -> list[str]:
    """What is different in a node, line by line."""
    none = translate("compare", "none")
    lines = [f"{name}: {a or none} → {b or none}" for name, (a, b) in change.attributes.items()]
    lines += [
        translate("compare", "reads {now}, before {then}").format(now=b or none, then=a or none)
        for a, b in change.inputs
    ]
    if change.values:
        words = translate("compare", "{n} values differ").format(n=f"{change.values:,}")
        if change.largest is not None:
            words += translate("compare", ", by {most} at most").format(most=f"{change.largest:.3g}")
        if change.relative is not None:
            words += translate("compare", " ({share} of the largest)").format(share=f"{change.relative:.2%}")
        lines.append(words)
    if change.shape:
        lines.append(f"{change.shape[0]} → {change.shape[1]}")
    if change.other != change.node:
        lines.append(translate("compare", "now called {name}").format(name=change.other))
    return lines


class Differences(QWidget):
    """The list; a click shows the node in both graphs."""

    jumpWanted = Signal(str)  # name of the node in the picture

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[tuple[str, str, str, list[str]]] = []  # kind, name, op, lines
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Filter by name or op"))
        self.filter.setToolTip(self.tr("Shows the differences with this word in name or op"))
        self.filter.setAccessibleName(self.tr("Filter the differences"))
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(lambda _text: self._fill())
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.setColumnCount(2)
        self.tree.setIndentation(12)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.tree.setAccessibleName(self.tr("Differences"))
        self.tree.setToolTip(self.tr("Choose a difference to see it in both graphs"))
        self.tree.currentItemChanged.connect(lambda item, _before: self._chosen(item))
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self.tree)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self._copy)
        self.words = label(wrap=True, select=True)
        self.words.setMinimumHeight(60)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.setSpacing(theme.SPACE)
        layout.addWidget(self.filter)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.words)

    def show_diff(self, diff: GraphDiff, names: dict[str, str]) -> None:
        """Lists differences; `names` are those that nodes of the second graph have in the picture."""
        own = [change for change in diff.changed if change.is_own]
        shapes = [change for change in diff.changed if not change.is_own]
        self._rows = [
            *(("changed", item.node, item.op, change_lines(item)) for item in own),
            *(("added", names[item.node], item.op, []) for item in diff.added),
            *(("removed", item.node, item.op, []) for item in diff.removed),
            *(("shape", item.node, item.op, change_lines(item)) for item in shapes),
            *(
                ("renamed", node, "", [self.tr("now called {name}").format(name=other)])
                for node, other in diff.renamed.items()
            ),
        ]
        self._fill()

    def choose(self, name: str) -> None:
        """Shows what is different in a node that was chosen in the picture."""
        for group in self._groups():
            for number in range(group.childCount()):
                row = group.child(number)
                if row is not None and row.data(0, _KEY) == name:
                    self.tree.blockSignals(True)
                    self.tree.setCurrentItem(row)
                    self.tree.blockSignals(False)
        self._tell(name)

    def _groups(self) -> Iterable[QTreeWidgetItem]:
        return filter(None, (self.tree.topLevelItem(number) for number in range(self.tree.topLevelItemCount())))

    def _fill(self) -> None:
        self.tree.clear()
        word = self.filter.text().lower()
        for kind in ("changed", "added", "removed", "shape", "renamed"):
            rows = [row for row in self._rows if row[0] == kind and word in f"{row[1]} {row[2]}".lower()]
            if not rows:
                continue
            hue, pattern, words = KINDS[kind]
            group = QTreeWidgetItem([f"{translate('compare', words)}  {len(rows):,}"])
            group.setIcon(0, QIcon(swatch(theme.hue(hue), pattern)))
            group.setFirstColumnSpanned(True)
            self.tree.addTopLevelItem(group)
            group.setFirstColumnSpanned(True)
            for _, name, op, lines in rows[:_MOST_ROWS]:
                row = QTreeWidgetItem([name, op])
                row.setData(0, _KEY, name)
                row.setToolTip(0, tip("\n".join([name, *lines])[:2000]))
                group.addChild(row)
            if len(rows) > _MOST_ROWS:
                group.addChild(QTreeWidgetItem([self.tr("and {n} more").format(n=f"{len(rows) - _MOST_ROWS:,}")]))
            group.setExpanded(kind in ("changed", "added", "removed") and len(rows) <= 200)
        self.tree.setColumnWidth(0, 180)

    def _chosen(self, item: QTreeWidgetItem | None) -> None:
        name = item.data(0, _KEY) if item else ""
        self._tell(name or "")
        if name:
            self.jumpWanted.emit(name)

    def _tell(self, name: str) -> None:
        found = [row for row in self._rows if row[1] == name]
        lines = [line for row in found for line in (row[3] or [translate("compare", KINDS[row[0]][2])])]
        same = [self.tr("The same in both")] if name and not found else []
        self.words.setText("\n".join([name, *lines, *same]))

    def _copy(self) -> None:
        item = self.tree.currentItem()
        if item:
            QGuiApplication.clipboard().setText(self.words.text() or item.text(0))
