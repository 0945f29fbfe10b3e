"""The row of buttons over the graph."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QActionGroup, QKeySequence, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QMenu, QToolButton, QWidget

from icebreaker_gui.graph_view import overlays
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.sidebar.search import SearchField
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Elided, calm
from icebreaker_gui.style.wording import translate

# What is shown: the graph before, both side by side, one view that flows from before to after, the graph after.
BEFORE, BOTH, SLIDER, AFTER = "before", "both", "slider", "after"


class Toolbar(QWidget):
    """Chooses what is shown and what colours mean; finds, zooms, opens the menu of the view.

    Attributes:
        mode_actions: Mode → its action.
        overlay: The chooser of what colours mean.
        search_field: Where words to find are typed.
        busy: Words for what is being done.
    """

    modeWanted = Signal(str)
    overlayWanted = Signal(str)
    zoomWanted = Signal(float)  # factor
    fitWanted = Signal()

    def __init__(self, view_menu: QMenu, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.SPACE, theme.SMALL, theme.SPACE, theme.SMALL)
        row.setSpacing(theme.SMALL)
        modes = QActionGroup(self)
        self.mode_actions: dict[str, QAction] = {}
        for mode, words, tip in (
            (BEFORE, self.tr("Before"), self.tr("The graph as it came")),
            (BOTH, self.tr("Side by side"), self.tr("Before and after, moving together")),
            (SLIDER, self.tr("Slider"), self.tr("One view that flows from before to after")),
            (AFTER, self.tr("After"), self.tr("The optimized graph; open an engine to see inside")),
        ):
            action = QAction(words, self)
            action.setCheckable(True)
            action.setToolTip(tip)
            action.setActionGroup(modes)
            action.triggered.connect(lambda _checked=False, mode=mode: self.modeWanted.emit(mode))
            self.mode_actions[mode] = action
            row.addWidget(button_of(action))
        row.addSpacing(theme.SPACE)
        self._overlay_rows = QStandardItemModel(self)
        self.overlay = self._overlay_chooser()
        row.addWidget(self.overlay)
        self.busy = Elided(color="muted")  # words that come and go must not press upon the docks
        row.addWidget(self.busy, 1)
        self.search_field = SearchField()
        self.search_field.setPlaceholderText(self.tr("Find name, op or attribute"))
        self.search_field.setClearButtonEnabled(True)
        self.search_field.setMaximumWidth(240)
        self.search_field.setMinimumWidth(110)
        self.search_field.setAccessibleName(self.tr("Search the graph"))
        row.addWidget(self.search_field, 3)
        add_action(row, self, self.tr("−"), self.tr("Zoom out"), lambda: self.zoomWanted.emit(0.8), "Ctrl+-")
        add_action(row, self, self.tr("+"), self.tr("Zoom in"), lambda: self.zoomWanted.emit(1.25), "Ctrl++")
        add_action(row, self, self.tr("Fit"), self.tr("Show the whole graph (Home)"), self.fitWanted.emit)
        more = QToolButton()
        more.setText(self.tr("View"))
        more.setToolTip(self.tr("Open, close, show, export"))
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(view_menu)
        row.addWidget(more)

    def _overlay_chooser(self) -> QComboBox:
        chooser = calm(QComboBox())
        chooser.setModel(self._overlay_rows)
        chooser.setToolTip(self.tr("What the colours mean"))
        chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        chooser.setMinimumContentsLength(15)  # more would press upon the docks; the list is as wide as it needs
        chooser.setAccessibleName(self.tr("Overlay"))
        chooser.activated.connect(lambda row: self.overlayWanted.emit(chooser.itemData(row)))
        return chooser

    def show_mode(self, mode: str, converted: bool) -> None:
        """Shows which mode is on; without a conversion there is BEFORE only."""
        for name, action in self.mode_actions.items():
            action.setEnabled(name == BEFORE or converted)
            action.setChecked(name == mode)

    def fill_overlays(self, data: GraphData, chosen: str) -> None:
        """Offers the overlays that have something to show."""
        self.overlay.clear()
        usable = overlays.available(data)
        for name, words in overlays.OVERLAYS.items():
            if name in usable:
                self.overlay.addItem(translate("graph", words), name)
            elif name == "time":  # shown all the same: else nobody would look for it
                self.overlay.addItem(self.tr("Measured time: press Measure"), name)
                self._overlay_rows.item(self.overlay.count() - 1).setEnabled(False)
        self.overlay.view().setMinimumWidth(self.overlay.view().sizeHintForColumn(0) + theme.HUGE)
        self.overlay.setCurrentIndex(max(0, self.overlay.findData(chosen)))
        self.overlay.setEnabled(data.graph is not None)

    def show_overlay(self, name: str) -> None:
        """Shows which overlay is on."""
        row = self.overlay.findData(name)
        if row >= 0:
            self.overlay.setCurrentIndex(row)


def button_of(action: QAction) -> QToolButton:
    """A button for an action, which follows it."""
    # Not its default action: Qt 6.11 connects that once more whenever the action changes, and never lets go.
    button = QToolButton()
    button.setText(action.text())
    button.setToolTip(action.toolTip())
    button.setCheckable(action.isCheckable())
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def follow() -> None:
        button.setEnabled(action.isEnabled())
        button.setChecked(action.isChecked())

    def press() -> None:
        action.trigger()
        follow()  # the button has toggled itself, whatever became of the action

    action.changed.connect(follow)
    button.clicked.connect(press)
    follow()
    return button


def add_action(
    row: QHBoxLayout, owner: QWidget, words: str, tip: str, do: Callable[[], object], keys: str = ""
) -> QAction:
    """Adds an action with its button to a row; its `keys` work wherever `owner` is in the window."""
    action = QAction(words, owner)
    if keys:
        action.setShortcut(QKeySequence(keys))
        tip = f"{tip} ({QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText)})"
    action.setToolTip(tip)
    action.triggered.connect(lambda _checked=False: do())
    owner.addAction(action)
    button = button_of(action)
    button.setAccessibleName(tip)
    row.addWidget(button)
    return action
