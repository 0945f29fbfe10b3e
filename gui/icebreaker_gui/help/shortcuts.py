"""All keys on one page, made from the window's actions themselves."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QHeaderView, QMainWindow, QVBoxLayout

from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Table, label


def shortcuts(window: QMainWindow) -> list[tuple[str, str, str]]:
    """Where, what and keys of every action of a window that has keys; each once, in the menus' order."""
    found: dict[str, tuple[str, str, str]] = {}

    def take(place: str, action: QAction) -> None:
        keys = ", ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in action.shortcuts())
        words = action.text().replace("&&", "\0").replace("&", "").replace("\0", "&").rstrip("…")
        if keys and words:
            found.setdefault(keys, (place, action.toolTip() if len(words) < 2 else words, keys))

    for menu_action in window.menuBar().actions():
        menu = menu_action.menu()
        for action in menu.actions() if menu else ():  # type: ignore[attr-defined]
            take(menu_action.text().replace("&", ""), action)
    for action in window.findChildren(QAction):
        take(window.tr("Graph view"), action)
    return list(found.values())


class Shortcuts(QDialog):
    """The page."""

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        self.resize(560, 560)
        in_graph = self.tr("In the graph")
        rows = [
            *shortcuts(window),
            (in_graph, self.tr("To the next node along an edge"), self.tr("Arrow keys")),
            (in_graph, self.tr("Open or close the chosen group"), self.tr("Return")),
            (in_graph, self.tr("Show the whole graph"), self.tr("Home")),
            (in_graph, self.tr("What can be done with the chosen node"), self.tr("Menu key")),
            (self.tr("Everywhere"), self.tr("To the next control, and back"), self.tr("Tab, Shift+Tab")),
        ]
        self.table = Table()
        self.table.fill(
            [self.tr("What"), self.tr("Where"), self.tr("Keys")], [(what, place, keys) for place, what, keys in rows]
        )
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setToolTip(self.tr("All keys of the app"))
        self.table.setAccessibleName(self.tr("Keyboard shortcuts"))
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.button(QDialogButtonBox.StandardButton.Close).setToolTip(self.tr("Esc closes it, too"))
        close.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.LARGE, theme.LARGE, theme.LARGE, theme.LARGE)
        layout.addWidget(
            label(self.tr("Alt and an underlined letter open menus and press buttons."), "muted", wrap=True)
        )
        layout.addWidget(self.table, 1)
        layout.addWidget(close)
