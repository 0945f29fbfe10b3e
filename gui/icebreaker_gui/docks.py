"""The docks around the graph: which panels there are, where they begin, and which of them is in front."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QObject, QSettings, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabBar, QTabWidget, QWidget

from icebreaker_gui.panels.latency import Latency
from icebreaker_gui.panels.log import Log
from icebreaker_gui.panels.result import Result
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session

_STATE_VERSION = 3  # of the arrangement: raise it when docks are added or renamed
_UNFOLDED = 0.3  # of the window's height, for the docks below the graph
_LEAST_UNFOLDED = 200
_MOST_HEIGHT = 16777215  # Qt's own: no limit


class Docks(QObject):
    """Makes the panels and their docks, and remembers their arrangement for the next start.

    Those below the graph fold to the row of their tabs until one of them has something to say; a click on the tab in
    front folds and unfolds them.

    Attributes:
        setup: The panel of the settings.
        latency: The panel of the measurement.
        result: The panel of the conversion's result.
        by_name: Name → dock, in the order of their keys.
    """

    def __init__(self, window: QMainWindow, session: Session, table: QWidget) -> None:
        """Adds the docks to the window. Adding a panel is one more entry here; `table` comes with the graph."""
        super().__init__(window)
        self._window = window
        window.setDockNestingEnabled(True)
        window.setDockOptions(window.dockOptions() | QMainWindow.DockOption.GroupedDragging)
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.setup, self.latency, self.result = Setup(session), Latency(session), Result(session)
        left, bottom = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
        self.by_name: dict[str, QDockWidget] = {}
        for name, title, panel, area in (
            ("setup", self.tr("Setup"), self.setup, left),
            ("latency", self.tr("Latency"), self.latency, bottom),
            ("result", self.tr("Result"), self.result, bottom),
            ("log", self.tr("Log"), Log(session), bottom),
            ("table", self.tr("Table"), table, bottom),
        ):
            dock = QDockWidget(title, window)
            dock.setObjectName(name)
            dock.setWidget(panel)
            window.addDockWidget(area, dock)
            self.by_name[name] = dock
        window.tabifyDockWidget(self.by_name["latency"], self.by_name["result"])
        window.tabifyDockWidget(self.by_name["result"], self.by_name["log"])
        window.tabifyDockWidget(self.by_name["log"], self.by_name["table"])
        self.by_name["latency"].raise_()
        window.setTabPosition(bottom, QTabWidget.TabPosition.North)
        for dock in self._below():
            dock.setTitleBarWidget(QWidget())  # its tab says the same
        self._bar: QTabBar | None = None
        self._folded_by_user = False
        self.folded = False
        window.resizeDocks([self.by_name["setup"]], [330], Qt.Orientation.Horizontal)
        self._first_arrangement = QByteArray()
        self.fold(True)

    def _below(self) -> list[QDockWidget]:
        """The docks below the graph."""
        area = Qt.DockWidgetArea.BottomDockWidgetArea
        return [
            dock for dock in self.by_name.values()
            if self._window.dockWidgetArea(dock) == area and not dock.isFloating()
        ]  # fmt: skip

    def fold(self, folded: bool) -> None:
        """Leaves of the docks below the graph their tabs only, or gives them their height."""
        below = self._below()
        self.folded = folded
        for dock in below:
            dock.setMaximumHeight(0 if folded else _MOST_HEIGHT)
        if not folded and below:
            tall = max(_LEAST_UNFOLDED, int(self._window.height() * _UNFOLDED))
            self._window.resizeDocks(below[:1], [tall], Qt.Orientation.Vertical)

    def watch_tabs(self) -> None:
        """Follows clicks on the tabs; to be called once the window is shown, which makes them."""
        titles = {dock.windowTitle() for dock in self._below()}
        for bar in self._window.findChildren(QTabBar):
            named = bar.count() and bar.tabText(0) in titles and bar.parent() is self._window
            if named and bar is not self._bar:
                self._bar = bar
                bar.tabBarClicked.connect(self._on_tab)
                bar.setToolTip(self.tr("Click the tab in front to fold these panels, or to unfold them"))

    def _on_tab(self, index: int) -> None:
        if self._bar is None or index < 0:
            return
        folds = index == self._bar.currentIndex() and not self.folded
        self._folded_by_user = folds
        self.fold(folds)

    def show(self, name: str, gently: bool = False) -> None:
        """Brings a dock to the front; `gently` leaves folded what the user has folded."""
        self.by_name[name].show()
        self.by_name[name].raise_()
        if self.folded and self.by_name[name] in self._below() and not (gently and self._folded_by_user):
            self._folded_by_user = False
            self.fold(False)

    def toggle(self, name: str, shown: bool) -> None:
        """Brings a dock to the front, keys with it, or hides it."""
        if not shown:
            self.by_name[name].hide()
            return
        self.show(name)
        for widget in self.by_name[name].widget().findChildren(QWidget):
            if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isEnabled() and widget.isVisible():
                widget.setFocus(Qt.FocusReason.ShortcutFocusReason)
                break

    def hides(self, widget: QWidget) -> bool:
        """True for a widget in a dock that lies behind another one, or is folded."""
        folded = self._below() if self.folded else ()
        behind = [dock for dock in self.by_name.values() if dock in folded or dock.visibleRegion().isEmpty()]
        return any(dock.isAncestorOf(widget) for dock in behind)

    def restore(self) -> None:
        """Gives the window the size and the arrangement that it had when it was closed last."""
        self._first_arrangement = self._window.saveState(_STATE_VERSION)
        settings = QSettings()
        geometry, arrangement = settings.value("geometry"), settings.value("arrangement")
        if isinstance(geometry, QByteArray):
            self._window.restoreGeometry(geometry)
        if isinstance(arrangement, QByteArray):
            self._window.restoreState(arrangement, _STATE_VERSION)
        self.fold(True)  # nothing is open yet

    def remember(self) -> None:
        """Keeps the window's size and the arrangement for the next start."""
        settings = QSettings()
        settings.setValue("geometry", self._window.saveGeometry())
        settings.setValue("arrangement", self._window.saveState(_STATE_VERSION))

    def reset(self) -> None:
        """Arranges the docks as they are the first time."""
        self._window.restoreState(self._first_arrangement, _STATE_VERSION)
        self.fold(self.folded)
