"""The main window: the graph in the middle, docks around it, menus, notices, drag and drop."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent, QIcon, QKeySequence, QPixmap
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QDockWidget,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from icebreaker.messages import Message
from icebreaker.reports.reports import Conversion
from icebreaker_gui.graph_view import GraphPanel
from icebreaker_gui.panels.latency import Latency
from icebreaker_gui.panels.log import Log
from icebreaker_gui.panels.result import Result
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session import autosave
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Banner, Elided, Progress, Question, button, clear, label

_ICON = theme.ICONS / "icebreaker.svg"
_WELCOME_WIDTH = 620
_STATE_VERSION = 1  # of the docks' arrangement: raise it when docks are added or renamed


class Window(QMainWindow):
    """The app's one window, over one session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._closing = False
        autosave.Autosave(session)
        self.setWindowIcon(QIcon(str(_ICON)))
        self.setAcceptDrops(True)
        self.setMinimumSize(900, 600)
        self.resize(1280, 800)
        self.graph_panel = GraphPanel()
        self.setCentralWidget(self._make_center())
        self._make_docks()
        self._make_menus()
        self._make_status()
        self._observe()
        self._arrangement = self.saveState(_STATE_VERSION)
        self._restore()
        self._update()

    # Its parts

    def _make_center(self) -> QWidget:
        self._banner = Banner()
        self._banner.dismissed.connect(self._session.dismiss_problem)
        self._banner.detailsWanted.connect(lambda: self.show_panel("log"))
        self._question = Question()
        self._question.yes.clicked.connect(self._on_yes)
        self._question.no.clicked.connect(self._on_no)
        self._on_answer: Callable[[], object] = lambda: None
        self._on_refusal: Callable[[], object] = lambda: None
        self._welcome = Welcome(self._session)
        self._welcome.openWanted.connect(self.choose_file)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._welcome)
        self._pages.addWidget(self.graph_panel)
        center = QWidget()
        layout = QVBoxLayout(center)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for notice in (self._banner, self._question):
            layout.addWidget(notice)
        layout.addWidget(self._pages, 1)
        return center

    def _make_docks(self) -> None:
        """Adding a panel is one more entry here."""
        self.setDockNestingEnabled(True)
        self.setDockOptions(self.dockOptions() | QMainWindow.DockOption.GroupedDragging)
        self.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self._setup = Setup(self._session)
        self._setup.openWanted.connect(self.choose_file)
        self._setup.saveWanted.connect(self.save_as)
        self._latency = Latency(self._session)
        result = Result(self._session)
        result.nodeActivated.connect(self.graph_panel.go_to)
        left, bottom = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
        self._docks: dict[str, QDockWidget] = {}
        for name, title, panel, area in (
            ("setup", self.tr("Setup"), self._setup, left),
            ("latency", self.tr("Latency"), self._latency, bottom),
            ("result", self.tr("Result"), result, bottom),
            ("log", self.tr("Log"), Log(self._session), bottom),
        ):
            dock = QDockWidget(title, self)
            dock.setObjectName(name)
            dock.setWidget(panel)
            self.addDockWidget(area, dock)
            self._docks[name] = dock
        self.tabifyDockWidget(self._docks["latency"], self._docks["result"])
        self.tabifyDockWidget(self._docks["result"], self._docks["log"])
        self._docks["latency"].raise_()
        self.resizeDocks([self._docks["setup"]], [330], Qt.Orientation.Horizontal)
        self.resizeDocks([self._docks["latency"]], [300], Qt.Orientation.Vertical)

    def _make_menus(self) -> None:
        def add(menu, text: str, slot: Callable[[], object], keys: object = None, tip: str = "") -> QAction:
            action = menu.addAction(text)
            action.triggered.connect(lambda _checked=False: slot())
            if keys:
                action.setShortcuts(keys if isinstance(keys, list) else [keys])
            action.setStatusTip(tip)
            return action

        session, bar = self._session, self.menuBar()
        menu = bar.addMenu(self.tr("&File"))
        add(menu, self.tr("&Open…"), self.choose_file, QKeySequence(QKeySequence.StandardKey.Open))
        self._recent = menu.addMenu(self.tr("Open &recent"))
        samples = menu.addMenu(self.tr("Open a &sample"))
        add(samples, self.tr("Digits"), lambda: session.make_sample("digits"))
        add(samples, self.tr("ResNet-50"), lambda: session.make_sample("resnet50"))
        menu.addSeparator()
        keys = [QKeySequence(QKeySequence.StandardKey.Save), QKeySequence("Ctrl+Shift+S")]
        self._save = add(menu, self.tr("&Save optimized graph…"), self.save_as, keys)
        self._export = add(menu, self.tr("&Export charts…"), self._latency.export, QKeySequence("Ctrl+E"))
        menu.addSeparator()
        add(menu, self.tr("&Quit"), self.close, QKeySequence("Ctrl+Q"))

        menu = bar.addMenu(self.tr("&Graph"))
        self._convert = add(menu, self.tr("&Convert"), session.convert, QKeySequence("F5"))
        self._measure = add(menu, self.tr("&Measure"), session.measure, QKeySequence("F6"))
        self._cancel = add(menu, self.tr("C&ancel"), session.cancel, QKeySequence("Esc"))
        menu.addSeparator()
        self._fit = add(menu, self.tr("&Fit to window"), self.graph_panel.fit, QKeySequence("Ctrl+0"))

        menu = bar.addMenu(self.tr("&View"))
        for number, (name, dock) in enumerate(self._docks.items(), 1):
            # Not the dock's own action: that one hides what lies behind another dock, instead of bringing it forward.
            toggle = menu.addAction(dock.windowTitle())
            toggle.setCheckable(True)
            toggle.setShortcut(QKeySequence(f"Ctrl+{number}"))
            toggle.triggered.connect(lambda shown, name=name: self._toggle_panel(name, shown))
            dock.visibilityChanged.connect(toggle.setChecked)
        menu.addSeparator()
        add(menu, self.tr("&Reset the arrangement"), self._reset_arrangement)

        menu = bar.addMenu(self.tr("&Help"))
        add(menu, self.tr("&About Icebreaker"), self._show_about, QKeySequence("F1"))

    def _make_status(self) -> None:
        self._stage = Elided(color="muted")
        self._bar = Progress()
        self._bar.setFixedWidth(160)
        self.statusBar().setContentsMargins(theme.SPACE, 0, theme.SPACE, 0)
        self.statusBar().addWidget(self._stage, 1)
        self.statusBar().addPermanentWidget(self._bar)
        self.statusBar().setSizeGripEnabled(False)

    def _observe(self) -> None:
        session = self._session
        # The graph's picture has a turn of its own: drawn together with the panels, it would keep the user waiting.
        self._picture = QTimer(self, singleShot=True, interval=0)
        self._picture.timeout.connect(self._show_in_graph)
        session.graphChanged.connect(self._on_graph)
        session.conversionChanged.connect(self._on_conversion)
        session.savedChanged.connect(self._update)
        session.activityChanged.connect(self._update)
        session.benchmarkChanged.connect(self._update)
        session.benchmarkChanged.connect(self._picture.start)
        session.settingsChanged.connect(self._update)
        session.machineChanged.connect(self._update)
        session.problemChanged.connect(lambda: self._banner.show_problem(session.problem))
        session.recentChanged.connect(self._fill_recent)
        session.consentWanted.connect(self._ask_consent)
        session.trustWanted.connect(self._ask_trust)
        self.graph_panel.excludeRequested.connect(session.exclude)
        self.graph_panel.failed.connect(session.report)
        self._fill_recent()

    # What the user does

    def choose_file(self) -> None:
        """Asks for a graph and opens it."""
        kinds = self.tr("Graphs (*.pb *.pbtxt *.gz *.keras *.h5 saved_model.pb);;All files (*)")
        start = self._session.recent[0] if self._session.recent else ""
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Open a graph"), start, kinds)
        if path:
            self.open(path)

    def open(self, path: str | Path) -> None:
        """Opens a graph; a `saved_model.pb` stands for its folder. Asks first if work would be lost."""
        path = Path(path)
        if path.name == "saved_model.pb":
            path = path.parent
        self._lose_work(
            self.tr("{name} takes the place of what is here.").format(name=path.name),
            self.tr("Open it"),
            lambda: self._session.open(path),
        )

    def save_as(self) -> None:
        """Asks for a name and saves the optimized graph."""
        session = self._session
        if session.conversion is None or session.busy or session.path is None:
            return
        folder = session.path.parent if session.folder not in session.path.parents else Path.home()
        path, _ = QFileDialog.getSaveFileName(
            self,
            self.tr("Save the optimized graph"),
            str(folder / f"{session.stem}.optimized.pb"),
            self.tr("Frozen graph (*.pb)"),
        )
        if path:
            session.save(Path(path) if Path(path).suffix else Path(path).with_suffix(".pb"))

    def show_panel(self, name: str) -> None:
        """Brings a dock to the front: setup, latency, result or log."""
        self._docks[name].show()
        self._docks[name].raise_()

    def _toggle_panel(self, name: str, shown: bool) -> None:
        """Brings a dock to the front, keys with it, or hides it."""
        if not shown:
            self._docks[name].hide()
            return
        self.show_panel(name)
        for item in self._docks[name].widget().findChildren(QWidget):
            if item.focusPolicy() & Qt.FocusPolicy.TabFocus and item.isEnabled() and item.isVisible():
                item.setFocus(Qt.FocusReason.ShortcutFocusReason)
                break

    def _lose_work(self, warning: str, yes: str, then: Callable[[], object]) -> None:
        """Does `then`, at once if no work is lost by it, else if the user agrees; nothing waits for the answer."""
        session = self._session
        if session.activity and session.activity.kind in ("convert", "measure", "sample", "save"):
            reason = self.tr("Work is going on: it will be cancelled.")
        elif session.unsaved:
            reason = self.tr("The optimized graph has not been saved.")
        else:
            then()
            return
        self._ask(f"{warning} {reason}", yes, self.tr("Stay"), then)

    def _ask(
        self, text: str, yes: str, no: str, then: Callable[[], object], otherwise: Callable[[], object] = lambda: None
    ) -> None:
        """Asks in the window; a question that has not been answered yet gives way."""
        self._on_answer, self._on_refusal = then, otherwise
        self._question.ask(text, yes, no)

    def _ask_consent(self, effects: str, then: Callable[[], object]) -> None:
        self._ask(
            self.tr(
                "This graph acts outside itself when it runs: {effects}. Run it only if you trust where it comes from."
            ).format(effects=effects),
            self.tr("Run it"),
            self.tr("Do not run it"),
            then,
        )

    def _ask_trust(self, engines: list[str], then: Callable[[bool], object]) -> None:
        names = ", ".join(formatting.engine(name)[:40] for name in engines[:4])
        self._ask(
            self.tr(
                "This graph brings engines along that were not built here: {names}. Load them only if you trust where "
                "it comes from."
            ).format(names=names),
            self.tr("Load the engines"),
            self.tr("Measure without them"),
            lambda: then(True),
            lambda: then(False),
        )

    def offer_restore(self) -> None:
        """Asks whether what an app that died was working on shall come back."""
        lost = autosave.find_lost()
        if lost is None:
            return
        what = self.tr("the result for {name}") if lost.state.conversion else self.tr("your settings for {name}")
        self._ask(
            self.tr("Icebreaker did not end as it should. It can bring back {what}.").format(
                what=what.format(name=lost.path.name)
            ),
            self.tr("Bring it back"),
            self.tr("Discard"),
            lambda: lost.restore(self._session),
            lost.discard,
        )
        self._question.yes.setFocus()  # the other answer cannot be taken back

    def _on_yes(self) -> None:
        self._on_answer()

    def _on_no(self) -> None:
        self._on_refusal()

    def _reset_arrangement(self) -> None:
        self.restoreState(self._arrangement, _STATE_VERSION)

    def _show_about(self) -> None:
        About(self).open()

    # What the session tells

    def _on_graph(self) -> None:
        self._question.hide()  # it was about another graph
        self.graph_panel.show_graph(self._session.graph, self._session.settings.outputs, self._session.graph_file)
        self._pages.setCurrentWidget(self.graph_panel if self._session.graph else self._welcome)
        self._update()

    def _show_in_graph(self) -> None:
        session, shown = self._session, self.graph_panel.state.data
        if shown.conversion is not session.conversion:
            self.graph_panel.show_conversion(session.conversion, session.optimized_graph)
        if shown.benchmark is not session.benchmark:
            self.graph_panel.show_benchmark(session.benchmark)

    def _on_conversion(self) -> None:
        self._picture.start()
        if self._session.conversion:
            self.show_panel("result")
            self._offer_retry(self._session.conversion)
        self._update()

    def _offer_retry(self, conversion: Conversion) -> None:
        """Asks whether what was left out because an engine has crashed on it before shall be tried again."""
        names = [
            warning.subject
            for warning in conversion.warnings
            if isinstance(warning, Message) and warning.code == "segment_crashed"
        ]
        if names:
            self._ask(
                self.tr(
                    "An engine has crashed before on {names}, so it stays in TensorFlow. Convert again and try it? "
                    "Another crash would harm nothing."
                ).format(names=", ".join(dict.fromkeys(names[:3])) + (" …" if len(names) > 3 else "")),
                self.tr("Try again"),
                self.tr("Leave it"),
                lambda: self._session.convert(retry_crashed=True),
            )

    def _update(self) -> None:
        session = self._session
        activity, idle = session.activity, not session.busy
        name = session.path.name if session.path else ""
        mark = "*" if session.unsaved else ""
        self.setWindowTitle(f"{name}{mark} – Icebreaker" if name else "Icebreaker")
        self._convert.setEnabled(idle and not self._setup.why_not())
        self._measure.setEnabled(idle and session.graph is not None)
        self._cancel.setEnabled(session.can_cancel)
        self._save.setEnabled(idle and session.conversion is not None)
        self._export.setEnabled(idle and bool(session.samples))
        self._fit.setEnabled(session.graph is not None)
        self._bar.setVisible(activity is not None)
        self._stage.setText(self._words())
        if activity:
            self._bar.set_fraction(activity.fraction)
            if activity.kind == "measure" and activity.stage == self.tr("Starting"):
                self.show_panel("latency")

    def _words(self) -> str:
        session = self._session
        if session.activity:
            return self.tr("Cancelling") if session.activity.cancelling else session.activity.stage
        if session.saved_path:
            return self.tr("Saved as {path}").format(path=session.saved_path)
        if session.unsaved:
            return self.tr("Converted. The optimized graph has not been saved yet.")
        if session.inspection and session.inspection.engines:
            return self.tr("Optimized already: ready to measure")
        if session.graph:
            return self.tr("Ready to convert")
        return self.tr("Open a graph, or drop one here")

    def _fill_recent(self) -> None:
        self._recent.clear()
        recent = self._session.recent
        for path in recent:
            action = self._recent.addAction(path)
            action.triggered.connect(lambda _checked=False, path=path: self.open(path))
        self._recent.setEnabled(bool(recent))
        if recent:
            self._recent.addSeparator()
            clear = self._recent.addAction(self.tr("Clear the list"))
            clear.triggered.connect(lambda _checked=False: self._session.clear_recent())

    # What Qt asks

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Leaves out the docks that lie behind others: nobody would see where the focus is."""
        behind = [dock for dock in self._docks.values() if dock.visibleRegion().isEmpty()]
        passed = {QApplication.focusWidget()}
        while super().focusNextPrevChild(forward):
            here = QApplication.focusWidget()
            if here in passed or here is None or not any(dock.isAncestorOf(here) for dock in behind):
                return True
            passed.add(here)
        return False

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one file or folder."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Opens it."""
        event.acceptProposedAction()
        self.open(event.mimeData().urls()[0].toLocalFile())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks if work would be lost; then ends all work and remembers the arrangement."""
        if not self._closing:
            event.ignore()
            self._lose_work(self.tr("Close Icebreaker?"), self.tr("Close"), self._close_now)
            if not self._closing:
                return
        event.accept()

    def _close_now(self) -> None:
        self._closing = True
        settings = QSettings()
        settings.setValue("geometry", self.saveGeometry())
        settings.setValue("arrangement", self.saveState(_STATE_VERSION))
        self.hide()
        self.graph_panel.close()  # Qt tells windows only
        self._session.shutdown()
        self.close()

    def _restore(self) -> None:
        settings = QSettings()
        for key, restore in (
            ("geometry", self.restoreGeometry),
            ("arrangement", lambda state: self.restoreState(state, _STATE_VERSION)),
        ):
            value = settings.value(key)
            if isinstance(value, QByteArray):
                restore(value)


class Welcome(QWidget):
    """What is shown before a graph is open: three ways to begin."""

    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        picture = QLabel()
        picture.setPixmap(QIcon(str(_ICON)).pixmap(QSize(88, 88)))
        picture.setFixedSize(88, 88)
        title = label(self.tr("Make a frozen graph run faster"))
        title.setFont(theme.font(1.9, bold=True))
        hint = label(
            self.tr(
                "Open a frozen TensorFlow graph, press Convert, and see which parts became engines and how much "
                "faster they are."
            ),
            "muted",
            wrap=True,
        )
        hint.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        hint.setFixedWidth(440)
        hint.setMinimumHeight(hint.heightForWidth(440))  # which the layout around it would not ask for
        opener = button(
            self.tr("Open a graph…"), self.tr("A .pb, .pbtxt, .keras or .h5 file (Ctrl+O)"), "primary", large=True
        )
        opener.clicked.connect(self.openWanted)
        digits = button(
            self.tr("Try the digits sample"),
            self.tr("A small network that reads handwritten digits, ready to convert"),
            large=True,
        )
        digits.clicked.connect(lambda: session.make_sample("digits"))
        resnet = button(
            self.tr("Try ResNet-50"),
            self.tr("The classic example; made here with random weights, which takes a moment"),
            large=True,
        )
        resnet.clicked.connect(lambda: session.make_sample("resnet50"))
        self._ways = (opener, digits, resnet)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE)
        buttons.addStretch()
        for way in self._ways:
            buttons.addWidget(way)
        buttons.addStretch()
        drop = label(self.tr("or drop a file or a SavedModel folder anywhere in this window"), "muted")
        self._recent = QVBoxLayout()
        self._recent.setSpacing(0)
        box = QFrame()
        box.setMaximumWidth(_WELCOME_WIDTH)
        column = QVBoxLayout(box)
        column.setSpacing(theme.LARGE)
        for widget in (picture, title, hint):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addLayout(buttons)
        column.addWidget(drop, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(theme.SPACE)
        column.addLayout(self._recent)
        layout = QVBoxLayout(self)
        layout.addStretch(2)
        layout.addWidget(box, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        session.recentChanged.connect(self._fill_recent)
        session.activityChanged.connect(self._update)
        self._fill_recent()

    def _update(self) -> None:
        for way in self._ways:
            way.setEnabled(not self._session.busy)

    def _fill_recent(self) -> None:
        clear(self._recent)
        recent = [Path(path) for path in self._session.recent[:4]]
        if recent:
            self._recent.addWidget(label(self.tr("Opened lately"), "title"), 0, Qt.AlignmentFlag.AlignHCenter)
        for path in recent:
            link = button("", str(path), "link")
            name = link.fontMetrics().elidedText(path.name, Qt.TextElideMode.ElideMiddle, _WELCOME_WIDTH - theme.LARGE)
            link.setText(name.replace("&", "&&"))
            link.clicked.connect(lambda _checked=False, path=path: self._session.open(path))
            self._recent.addWidget(link, 0, Qt.AlignmentFlag.AlignHCenter)


class About(QDialog):
    """Name, version, licence."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("About Icebreaker"))
        picture = QLabel()
        picture.setPixmap(QPixmap(QIcon(str(_ICON)).pixmap(QSize(64, 64))))
        title = label("Icebreaker")
        title.setFont(theme.font(1.6, bold=True))
        words = label(
            self.tr(
                "Version {version}. Makes frozen TensorFlow graphs run faster, and shows why.\n"
                "Apache License 2.0. TensorFlow, OpenVINO, ONNX Runtime and TensorRT are their owners' marks."
            ).format(version=version("icebreaker")),
            "muted",
            wrap=True,
        )
        words.setMinimumWidth(340)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.close)
        right = QVBoxLayout()
        right.addWidget(title)
        right.addWidget(words)
        row = QHBoxLayout()
        row.setSpacing(theme.LARGE)
        row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(right)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.HUGE, theme.HUGE, theme.HUGE, theme.LARGE)
        layout.addLayout(row)
        layout.addWidget(close)
