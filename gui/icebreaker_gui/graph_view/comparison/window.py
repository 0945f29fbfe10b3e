"""The window that shows two graphs side by side, moving together, with the list of their differences."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from icebreaker.graph.graph import Graph
from icebreaker.reports import GraphDiff
from icebreaker_gui.graph_view.background import Background
from icebreaker_gui.graph_view.canvas.pane import Pane
from icebreaker_gui.graph_view.comparison.differences import Differences
from icebreaker_gui.graph_view.comparison.union import Union
from icebreaker_gui.graph_view.neighbours import step_from
from icebreaker_gui.graph_view.painting.look import Marks
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.layout import Cancelled, Scene
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, button, label

_SMALL = 150  # nodes that are laid out at once
_MOST_OPENED = 60  # boxes that the groups with differences may add at first


class ComparisonWindow(QWidget):
    """Two graphs and their differences.

    Attributes:
        panes: The first graph and the second.
        differences: The list.
    """

    def __init__(
        self, first: Graph, second: Graph, diff: GraphDiff, names: tuple[str, str], parent: QWidget | None = None
    ) -> None:
        """Shows them; `names` are those of their files."""
        super().__init__(parent, Qt.WindowType.Window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("{first} and {second} – Icebreaker").format(first=names[0], second=names[1]))
        self.setMinimumSize(720, 480)
        self.resize(1240, 760)
        self._names = names
        self._union: Union | None = None
        self._opened: set[int] = set()
        self._scene: Scene | None = None
        self._picture: Picture | None = None
        self._selected = self._hovered = -1
        self.panes = Pane(), Pane()
        self.differences = Differences()
        self._summary = label(wrap=True)
        self._busy = Elided(color="muted")
        self._arrange(diff)
        self._connect_panes()
        self.differences.jumpWanted.connect(self.go_to)
        self._background = Background(self)
        self._background.busyChanged.connect(
            lambda busy: self._busy.setText(self.tr("Laying out the graphs …") if busy else "")
        )
        large = len(first) + len(second) > _SMALL
        self.differences.tree.setFocus()
        self._background.run(lambda cancelled: Union(first, second, diff, cancelled), self._joined, large)

    def _arrange(self, diff: GraphDiff) -> None:
        self._summary.setProperty("look", "title")
        self._summary.setText(self._words(diff))
        fit = button(self.tr("&Fit"), self.tr("Show both graphs whole (Home)"))
        fit.clicked.connect(self.fit)
        reset = button(self.tr("&Close groups"), self.tr("Go back to what was open at first"))
        reset.clicked.connect(self._open_first)
        row = QHBoxLayout()
        row.setContentsMargins(theme.SPACE, theme.SPACE, theme.SPACE, 0)
        row.addWidget(self._summary, 2)
        row.addWidget(self._busy, 1)
        row.addWidget(reset)
        row.addWidget(fit)
        split = QSplitter(Qt.Orientation.Horizontal)
        for pane in self.panes:
            split.addWidget(pane)
        split.addWidget(self.differences)
        split.setChildrenCollapsible(False)
        split.setSizes([430, 430, 330])
        for place in (0, 1):
            split.setStretchFactor(place, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(split, 1)
        close = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        close.activated.connect(self.close)
        self.panes[0].set_morph(0.0)
        self.panes[1].set_morph(1.0)
        for pane, name, color, count in zip(
            self.panes, self._names, ("original", "optimized"), diff.nodes, strict=True
        ):
            words = formatting.count(count, self.tr("{n} node"), self.tr("{n} nodes"))
            pane.show_title(name, words, color)
            pane.setToolTip(self.tr("Double click a group to open it"))

    def _words(self, diff: GraphDiff) -> str:
        """The differences in one line."""
        if diff.is_empty:
            return self.tr("Both graphs are the same.")
        own = sum(change.is_own for change in diff.changed)
        counts = (
            (own, self.tr("{n} changed")),
            (len(diff.added), self.tr("{n} added")),
            (len(diff.removed), self.tr("{n} removed")),
            (len(diff.changed) - own, self.tr("{n} with another shape")),
            (len(diff.renamed), self.tr("{n} renamed")),
            (len(diff.functions), self.tr("{n} functions differ")),
            (diff.same - len(diff.renamed), self.tr("{n} the same")),
        )
        return " · ".join(words.format(n=f"{number:,}") for number, words in counts if number)

    def _connect_panes(self) -> None:
        for pane, other in (self.panes, self.panes[::-1]):
            pane.cameraMoved.connect(lambda camera, other=other: self._follow(other, camera))
            pane.itemClicked.connect(self._clicked)
            pane.itemOpened.connect(self._toggle)
            pane.itemHovered.connect(self._hover)
            pane.stepWanted.connect(lambda way, pane=pane: self._step(pane, way))

    def _follow(self, pane: Pane, camera: Camera) -> None:
        pane.set_camera(camera)

    # ---- what is open -----------------------------------------------------------------------------------------------

    def _joined(self, union: Union) -> None:
        self._union = union
        self.differences.show_diff(union.diff, union.names)
        self._open_first()

    def _open_first(self) -> None:
        """Opens the groups with differences, as far as that stays clear."""
        if self._union is None:
            return
        outline = self._union.outline
        opened = set(outline.first_open())
        shown = sum(len(outline.members[group]) for group in opened)
        for name, kind in self._union.kinds.items():
            leaf = outline.leaf.get(name, -1)
            if leaf < 0 or kind in ("renamed", "shape"):
                continue
            more = [group for group in outline.ancestors(leaf) if group not in opened]
            boxes = sum(len(outline.members[group]) for group in more)
            if shown + boxes > _MOST_OPENED:
                break
            opened.update(more)
            shown += boxes
        self._opened = opened | {0}
        self._lay_out(-1)
        QTimer.singleShot(0, self.fit)

    def _lay_out(self, anchor: int) -> None:
        union = self._union
        if union is None:
            return
        opened = frozenset(self._opened)
        large = sum(len(union.outline.members[item]) for item in opened) > 1200

        def job(cancelled: Cancelled) -> Scene:
            return union.layout.scene(opened, cancelled)

        def then(scene: Scene) -> None:
            self._scene = scene
            self._show(anchor)

        self._background.run(job, then, large)

    def _show(self, anchor: int = -1) -> None:
        if self._union is None or self._scene is None:
            return
        self._picture = Picture(self._scene, self._union.look())
        for pane in self.panes:
            pane.show_picture(self._picture, anchor)
        self.panes[1].set_camera(self.panes[0].camera)
        self._mark()

    def _toggle(self, item: int) -> None:
        if self._union and item > 0 and self._union.outline.members[item]:
            self._opened ^= {item}
            self._lay_out(item)

    # ---- what is chosen ---------------------------------------------------------------------------------------------

    def go_to(self, name: str) -> None:
        """Chooses a node, opens the groups around it and brings it into sight in both graphs."""
        union = self._union
        leaf = union.outline.leaf.get(name, -1) if union else -1
        if union is None or leaf < 0:
            return
        self._selected = leaf
        closed = set(union.outline.ancestors(leaf)) - self._opened
        if closed:
            self._opened |= closed
            self._lay_out(leaf)
        self._mark()
        self.panes[0].reveal(leaf)

    def fit(self) -> None:
        """Shows both graphs whole."""
        if self._picture:
            self.panes[0].fit(animated=False)
            self.panes[1].set_camera(self.panes[0].camera)

    def _clicked(self, item: int) -> None:
        self._selected = item
        self._mark()
        if self._union:
            outline = self._union.outline
            is_leaf = item > 0 and not outline.members[item]
            self.differences.choose(outline.keys[item] if is_leaf else "")

    def _hover(self, item: int) -> None:
        self._hovered = item
        self._mark()

    def _step(self, pane: Pane, way: str) -> None:
        if pane.picture:
            item = step_from(pane.picture.scene, self._selected, way, pane.camera, after=pane is self.panes[1])
            if item >= 0:
                self._clicked(item)
                pane.reveal(item)

    def _mark(self) -> None:
        for pane in self.panes:
            if pane.picture:
                pane.set_marks(Marks(self._selected, self._hovered))

    # ---- events -----------------------------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        if event.type() == QEvent.Type.PaletteChange and self._union:
            self._show()
            self.differences.show_diff(self._union.diff, self._union.names)
        super().changeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stops work in the background."""
        self._background.close()
        super().closeEvent(event)
