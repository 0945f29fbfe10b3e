"""What stands beside the graph: lists above (reasons, search results), what is chosen below them."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QSplitter, QTabWidget, QWidget

from icebreaker_gui.graph_view.sidebar.details import Details
from icebreaker_gui.graph_view.sidebar.search import SearchField, SearchPanel
from icebreaker_gui.graph_view.sidebar.why_not import WhyNot
from icebreaker_gui.graph_view.state import GraphState


class Sidebar(QSplitter):
    """A list is there once it has something to say, the details while something is chosen: else the graph has the room.

    Choosing something in a list leaves the list where it is.

    Attributes:
        lists: The tabs of the lists.
        details: What is known of what is chosen.
        why_not: What stays in TensorFlow, and why.
        search_panel: What was found.
    """

    def __init__(self, state: GraphState, field: SearchField, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Vertical, parent)
        self._state, self._field = state, field
        self._wanted = True
        self.details = Details(state)
        self.why_not = WhyNot(state)
        self.search_panel = SearchPanel(state, field)
        self.lists = QTabWidget()
        self.lists.setDocumentMode(True)
        self.lists.addTab(self.why_not, self.tr("Reasons"))
        self.lists.addTab(self.search_panel, self.tr("Search"))
        self.addWidget(self.lists)
        self.addWidget(self.details)
        self.setChildrenCollapsible(False)
        self.setStretchFactor(0, 1)
        self.setStretchFactor(1, 1)
        self.setMinimumWidth(220)
        field.textChanged.connect(self._searched)
        state.selectionChanged.connect(self.refresh)
        state.graphChanged.connect(self.refresh)
        self.refresh()

    def want(self, wanted: bool) -> None:
        """Whether the user wants to see anything here at all."""
        self._wanted = wanted
        self.refresh()

    def search(self) -> None:
        """Brings what was found to the front."""
        self.lists.setCurrentWidget(self.search_panel)
        self.refresh()

    def refresh(self) -> None:
        """Shows what has something to say."""
        converted, searching = self._state.data.conversion is not None, bool(self._field.text())
        self.lists.setTabVisible(0, converted)
        self.lists.setTabVisible(1, searching)
        if not searching and converted:
            self.lists.setCurrentWidget(self.why_not)
        self.lists.tabBar().setVisible(converted and searching)
        chosen = bool(self._state.selected) and self._state.data.graph is not None
        self.lists.setVisible(converted or searching)
        self.details.setVisible(chosen)
        self.setVisible(self._wanted and (converted or searching or chosen))

    def _searched(self, text: str) -> None:
        self.refresh()
        if text:
            self.lists.setCurrentWidget(self.search_panel)

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "details"):
            self.details.refresh()
