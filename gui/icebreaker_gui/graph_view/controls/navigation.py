"""Where one is in the graph and was before: back, forward, the path to what is chosen, bookmarks."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from icebreaker_gui.graph_view.controls.toolbar import add_action
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.style import theme


class Navigation(QWidget):
    """The row below the toolbar; always there, so that nothing moves when something is chosen.

    Attributes:
        back: The action that goes to what was chosen before.
        forward: The action that goes on again.
        bookmarks: Keys of items to come back to.
        path: The groups around what is chosen, each a link.
    """

    jumpWanted = Signal(str)

    def __init__(self, state: GraphState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._history: list[str] = []
        self._place = -1
        self._travelling = False
        self.bookmarks: list[str] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.SPACE, 0, theme.SPACE, theme.SMALL)
        row.setSpacing(0)
        self.back = add_action(row, self, "‹", self.tr("Back"), lambda: self._travel(-1), "Alt+Left")
        self.forward = add_action(row, self, "›", self.tr("Forward"), lambda: self._travel(1), "Alt+Right")
        row.addSpacing(theme.SPACE)
        self.path = QLabel()
        self.path.setProperty("look", "muted")
        self.path.setTextFormat(Qt.TextFormat.RichText)
        self.path.linkActivated.connect(self.jumpWanted)
        self.path.setMinimumWidth(10)
        row.addWidget(self.path, 1)

    def clear(self) -> None:
        """Forgets where one was: there is another graph."""
        self._history, self._place, self.bookmarks = [], -1, []

    def follow(self) -> None:
        """Takes what is chosen now into the history, unless one came to it by going back or forward."""
        key = self._state.selected
        if key and not self._travelling:
            del self._history[self._place + 1 :]
            if not self._history or self._history[-1] != key:
                self._history.append(key)
            self._place = len(self._history) - 1
        self._enable()
        self.refresh()

    def refresh(self) -> None:
        """Shows the path to what is chosen, in the theme's colours."""
        state, side = self._state, self._state.side
        item = state.item(side.outline, state.selected) if side is not None else -1
        if side is None or item < 0:
            color = theme.current().muted
            words = self.tr("Click a node to see what is known of it, double click a group to open it")
            self.path.setText(f"<span style='color:{color}'>{escape(words)}</span>" if side is not None else "")
            return
        outline = side.outline
        items = [*(group for group in reversed(outline.ancestors(item)) if group), item]
        color = theme.current().muted
        self.path.setText(
            f"<span style='color:{color}'> › </span>".join(
                f"<a style='color:{color};text-decoration:none' href='{escape(outline.keys[part])}'>"
                f"{escape(outline.labels[part])}</a>"
                for part in items
            )
        )

    def _travel(self, by: int) -> None:
        place = self._place + by
        if 0 <= place < len(self._history):
            self._place = place
            self._travelling = True
            self.jumpWanted.emit(self._history[place])
            self._travelling = False
            self._enable()

    def _enable(self) -> None:
        self.back.setEnabled(self._place > 0)
        self.forward.setEnabled(self._place < len(self._history) - 1)
