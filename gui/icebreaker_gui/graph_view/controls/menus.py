"""The menus of the graph view: of the view itself, and of a node or group."""

from __future__ import annotations

from PySide6.QtCore import QSettings, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu, QWidget

from icebreaker_gui.graph_view.controls.navigation import Navigation
from icebreaker_gui.graph_view.neighbours import neighbours
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.layout import Outline
from icebreaker_gui.style.plain_text import caption

_MOST_NEIGHBOURS = 30  # in a menu


class ViewMenu(QMenu):
    """Opens and closes groups, turns the graph, saves pictures and files.

    Attributes:
        sideways: The action that draws the graph from left to right.
        sidebar: The action that shows what stands beside the graph.
    """

    pictureWanted = Signal(bool)  # True: of the whole graph
    filesWanted = Signal()

    def __init__(self, state: GraphState, navigation: Navigation, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, self._navigation = state, navigation
        self.addAction(self.tr("Open all groups"), state.open_all)
        self.addAction(self.tr("Close all groups"), state.close_all)
        self.addSeparator()
        folded = self.addAction(self.tr("Show constants and identities"))
        folded.setCheckable(True)
        folded.toggled.connect(state.set_show_folded)
        self.sideways = self.addAction(self.tr("From left to right"))
        self.sideways.setCheckable(True)
        self.sideways.toggled.connect(self._turn)
        self.sideways.setChecked(QSettings().value("graph/sideways", False, bool) is True)
        self.sidebar = self.addAction(self.tr("Side panel"))
        self.sidebar.setCheckable(True)
        self.sidebar.setChecked(True)
        self.addSeparator()
        self._bookmarks = self.addMenu(self.tr("Bookmarks"))
        self._bookmarks.aboutToShow.connect(self._fill_bookmarks)
        self.addSeparator()
        self.addAction(self.tr("Save picture of the view …"), lambda: self.pictureWanted.emit(False))
        self.addAction(self.tr("Save picture of the whole graph …"), lambda: self.pictureWanted.emit(True))
        self.addAction(self.tr("Save for TensorBoard and Netron …"), self.filesWanted.emit)

    def _turn(self, sideways: bool) -> None:
        QSettings().setValue("graph/sideways", sideways)
        self._state.set_sideways(sideways)

    def _fill_bookmarks(self) -> None:
        self._bookmarks.clear()
        jump = self._navigation.jumpWanted
        for key in self._navigation.bookmarks:
            self._bookmarks.addAction(caption(key.rstrip("/")), lambda key=key: jump.emit(key))
        if not self._navigation.bookmarks:
            action = self._bookmarks.addAction(self.tr("None yet: right click a node"))
            action.setEnabled(False)


class ItemMenu(QMenu):
    """What can be done with one item of the graph, or, where there is none, with the whole."""

    fitWanted = Signal(int)  # item, -1 for the whole graph
    excludeWanted = Signal(str)  # a node that is to stay in TensorFlow

    def __init__(self, state: GraphState, navigation: Navigation, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, self._navigation = state, navigation

    def fill_whole(self) -> None:
        """Offers what can be done with the whole graph."""
        self.addAction(self.tr("Fit"), lambda: self.fitWanted.emit(-1))
        self.addAction(self.tr("Open all groups"), self._state.open_all)
        self.addAction(self.tr("Close all groups"), self._state.close_all)

    def fill(self, outline: Outline, item: int) -> None:
        """Offers what can be done with an item of an outline."""
        key, bookmarks = outline.keys[item], self._navigation.bookmarks
        if outline.members[item]:
            self.addAction(self.tr("Open or close"), lambda: self._state.toggle(key))
            self.addAction(self.tr("Fit to view"), lambda: self.fitWanted.emit(item))
        self.addAction(self.tr("Copy name"), lambda: QGuiApplication.clipboard().setText(key))
        if key in bookmarks:
            self.addAction(self.tr("Remove bookmark"), lambda: bookmarks.remove(key))
        else:
            self.addAction(self.tr("Bookmark"), lambda: bookmarks.append(key))
        near = self.addMenu(self.tr("Neighbours within"))
        for hops in (1, 2, 3):
            near.addAction(self.tr("{n} hops").format(n=hops), lambda hops=hops: self._mark_neighbours(key, hops))
        self._fill_node(key)
        if names := self._state.ops_of(key):
            self.addSeparator()
            self.addAction(self._exclude_words(key, names), lambda: self.excludeWanted.emit(key))

    def _fill_node(self, key: str) -> None:
        graph, jump = self._state.data.graph, self._navigation.jumpWanted
        if graph is None or key not in graph:
            return
        for title, names in (
            (self.tr("Follow an input"), [(str(tensor), tensor.node) for tensor in graph[key].inputs]),
            (self.tr("Follow an output"), [(name, name) for name in graph.consumers[key]]),
        ):
            if names:
                menu = self.addMenu(title)
                for words, name in names[:_MOST_NEIGHBOURS]:
                    menu.addAction(caption(words), lambda name=name: jump.emit(name))

    def _exclude_words(self, key: str, names: list[str]) -> str:
        if self._state.excluded.issuperset(names):
            return self.tr("Give it to engines again")
        if names == [key]:
            return self.tr("Leave this node in TensorFlow")
        return self.tr("Leave these {n} ops in TensorFlow").format(n=len(names))

    def _mark_neighbours(self, key: str, hops: int) -> None:
        """Marks what is within so many edges of a node or group."""
        if self._state.shared is not None:
            outline = self._state.shared.outline
            self._state.set_found(neighbours(outline, self._state.item(outline, key), hops))
