"""The menu bar: every command of the app, with its keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar

from icebreaker_gui.docks import Docks
from icebreaker_gui.session.session import Session
from icebreaker_gui.session.undo import History
from icebreaker_gui.style import formatting
from icebreaker_gui.style.plain_text import caption

_Standard = QKeySequence.StandardKey


class MenuBar(QMenuBar):
    """The menus File, Edit, Graph, View and Help; what cannot be done now is disabled."""

    openWanted = Signal()
    pathChosen = Signal(str)  # a file opened lately
    compareWanted = Signal()
    saveWanted = Signal()
    quitWanted = Signal()
    cancelWanted = Signal()
    fitWanted = Signal()
    aboutWanted = Signal()
    helpWanted = Signal()
    shortcutsWanted = Signal()
    preferencesWanted = Signal()
    newWindowWanted = Signal()
    fullScreenWanted = Signal()

    def __init__(self, session: Session, docks: Docks) -> None:
        super().__init__()
        self._session, self._docks = session, docks
        self._make_file_menu()
        self._make_edit_menu()
        self._make_graph_menu()
        self._make_view_menu()
        menu = self.addMenu(self.tr("&Help"))
        _add(menu, self.tr("&First steps"), self.helpWanted.emit, QKeySequence("F1"))
        _add(menu, self.tr("&Keyboard shortcuts"), self.shortcutsWanted.emit, QKeySequence("Ctrl+?"))
        menu.addSeparator()
        _add(menu, self.tr("&About Icebreaker"), self.aboutWanted.emit)
        for signal in (
            session.graphChanged, session.conversionChanged, session.savedChanged, session.activityChanged,
            session.benchmarkChanged, session.settingsChanged, session.machineChanged,
        ):  # fmt: skip
            signal.connect(self._update)
        session.recent.changed.connect(self._fill_recent)
        self._fill_recent()
        self._update()

    def _make_file_menu(self) -> None:
        session, menu = self._session, self.addMenu(self.tr("&File"))
        _add(menu, self.tr("&New window"), self.newWindowWanted.emit, QKeySequence("Ctrl+Shift+N"))
        _add(menu, self.tr("&Open…"), self.openWanted.emit, QKeySequence(_Standard.Open))
        self._recent = menu.addMenu(self.tr("Open &recent"))
        samples = menu.addMenu(self.tr("Open a samp&le"))
        _add(samples, self.tr("Digits"), lambda: session.make_sample("digits"))
        _add(samples, self.tr("ResNet-50"), lambda: session.make_sample("resnet50"))
        self._compare = _add(menu, self.tr("Co&mpare with…"), self.compareWanted.emit, QKeySequence("Ctrl+D"))
        menu.addSeparator()
        keys = QKeySequence(_Standard.Save), QKeySequence("Ctrl+Shift+S")
        self._save = _add(menu, self.tr("&Save optimized graph…"), self.saveWanted.emit, *keys)
        self._export = _add(menu, self.tr("&Export charts…"), self._docks.latency.export, QKeySequence("Ctrl+E"))
        menu.addSeparator()
        _add(menu, self.tr("&Quit"), self.quitWanted.emit, QKeySequence("Ctrl+Q"))

    def _make_edit_menu(self) -> None:
        menu = self.addMenu(self.tr("&Edit"))
        history = History(self._session, self)
        for action, keys in (
            (history.createUndoAction(self, self.tr("&Undo")), _Standard.Undo),
            (history.createRedoAction(self, self.tr("&Redo")), _Standard.Redo),
        ):
            action.setShortcuts(QKeySequence.keyBindings(keys))
            menu.addAction(action)
        menu.addSeparator()
        _add(menu, self.tr("&Preferences…"), self.preferencesWanted.emit, QKeySequence("Ctrl+,"))

    def _make_graph_menu(self) -> None:
        session, menu = self._session, self.addMenu(self.tr("&Graph"))
        self.convert_action = _add(menu, self.tr("&Convert"), session.convert, QKeySequence("F5"))
        self._measure = _add(menu, self.tr("&Measure"), session.measure, QKeySequence("F6"))
        self._cancel = _add(menu, self.tr("C&ancel"), self.cancelWanted.emit, QKeySequence("Esc"))
        menu.addSeparator()
        self._fit = _add(menu, self.tr("&Fit to window"), self.fitWanted.emit, QKeySequence("Ctrl+0"))

    def _make_view_menu(self) -> None:
        menu = self.addMenu(self.tr("&View"))
        for number, (name, dock) in enumerate(self._docks.by_name.items(), 1):
            # Not the dock's own action: that one hides what lies behind another dock, instead of bringing it forward.
            toggle = menu.addAction(dock.windowTitle())
            toggle.setCheckable(True)
            toggle.setShortcut(QKeySequence(f"Ctrl+{number}"))
            toggle.triggered.connect(lambda shown, name=name: self._docks.toggle(name, shown))
            dock.visibilityChanged.connect(toggle.setChecked)
        menu.addSeparator()
        _add(menu, self.tr("&Reset the arrangement"), self._docks.reset)
        _add(menu, self.tr("F&ull screen"), self.fullScreenWanted.emit, QKeySequence("F11"))

    def _update(self) -> None:
        session, idle = self._session, not self._session.busy
        self.convert_action.setEnabled(idle and not self._docks.setup.why_not())
        self._measure.setEnabled(idle and session.graph is not None)
        self._cancel.setEnabled(session.can_cancel)
        self._save.setEnabled(idle and session.conversion is not None)
        self._export.setEnabled(idle and bool(session.samples))
        self._fit.setEnabled(session.graph is not None)
        self._compare.setEnabled(session.graph is not None)

    def _fill_recent(self) -> None:
        self._recent.clear()
        paths = self._session.recent.paths
        for path in paths:
            told = formatting.last_result(self._session.recent.result(path))
            action = self._recent.addAction(caption(f"{path}   {told}" if told else path))
            action.triggered.connect(lambda _checked=False, path=path: self.pathChosen.emit(path))
        self._recent.setEnabled(bool(paths))
        if paths:
            self._recent.addSeparator()
            _add(self._recent, self.tr("Clear the list"), self._session.recent.clear)


def _add(menu: QMenu, text: str, slot: Callable[[], object], *keys: QKeySequence) -> QAction:
    """Adds a command to a menu, with its keys."""
    action = menu.addAction(text)
    action.triggered.connect(lambda _checked=False: slot())
    shortcuts: Sequence[QKeySequence] = keys
    action.setShortcuts(shortcuts)
    return action
