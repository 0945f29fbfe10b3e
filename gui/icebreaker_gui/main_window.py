"""The main window: the graph in the middle, docks around it, menus above, what goes on below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent, QIcon
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QStackedWidget, QToolBar

from icebreaker.messages import Message
from icebreaker.reports import Conversion
from icebreaker_gui.about import About
from icebreaker_gui.comparing import Comparer
from icebreaker_gui.docks import Docks
from icebreaker_gui.drop_target import DropTarget
from icebreaker_gui.graph_view import GraphPanel
from icebreaker_gui.habits import Habits
from icebreaker_gui.menus import MenuBar
from icebreaker_gui.notices import Notices
from icebreaker_gui.panels.result_strip import ResultStrip
from icebreaker_gui.session import autosave
from icebreaker_gui.session.activity import Kind
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Elided, Progress
from icebreaker_gui.welcome import Welcome

_MOST_NAMES = 3  # of segments in a question
_MOST_ENGINES, _LONGEST_ENGINE = 4, 40  # of engines in a question, whose names a file brings along


class Window(QMainWindow):
    """The app's one window, over one session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._is_closing = False
        self._kind: Kind | None = None  # of what went on when the window was brought up to date last
        autosave.Autosave(session)
        self.setWindowIcon(QIcon(str(theme.APP_ICON)))
        self.setAcceptDrops(True)
        self.setMinimumSize(900, 600)
        self.resize(1280, 800)
        self.welcome = Welcome(session)
        self.graph_panel = GraphPanel()
        self.pages = QStackedWidget()
        self.setCentralWidget(self.pages)
        for page in (self.welcome, self.graph_panel):
            self.pages.addWidget(page)
        self.notices = Notices(self.pages)
        self.strip = ResultStrip(session)
        self._show_strip()
        self.docks = Docks(self, session, self.graph_panel.table)
        self.comparer = Comparer(self, session)
        self.drop_target = DropTarget(self)
        self.menus = MenuBar(session, self.docks)
        self.setMenuBar(self.menus)
        self._make_status()
        self._connect_parts()
        self._observe_session()
        self.docks.restore()
        self._update()

    # Its parts

    def _show_strip(self) -> None:
        """Over the docks and the graph, where no arrangement of the user's moves it."""
        bar = QToolBar()
        bar.setObjectName("result strip")
        bar.setWindowTitle(self.tr("Result"))
        bar.setProperty("look", "strip")
        bar.setMovable(False)
        bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        bar.addWidget(self.strip)
        self.addToolBar(Qt.ToolBarArea.TopToolBarArea, bar)
        self._strip_bar = bar
        bar.visibilityChanged.connect(lambda _shown: self._place_strip())  # an arrangement that comes back has its own
        self._place_strip()

    def _place_strip(self) -> None:
        self._strip_bar.setVisible(self._session.conversion is not None)

    def _make_status(self) -> None:
        self._stage = Elided(color="muted")
        self._bar = Progress()
        self._bar.setFixedWidth(160)
        self.statusBar().setContentsMargins(theme.SPACE, 0, theme.SPACE, 0)
        self.statusBar().addWidget(self._stage, 1)
        self.statusBar().addPermanentWidget(self._bar)
        self.statusBar().setSizeGripEnabled(False)

    def _connect_parts(self) -> None:
        session, menus = self._session, self.menus
        for opens in (self.welcome.openWanted, self.docks.setup.openWanted, menus.openWanted):
            opens.connect(self.choose_file)
        for saves in (self.strip.saveWanted, menus.saveWanted):
            saves.connect(lambda: self.save_as())
        menus.pathChosen.connect(self.open)
        menus.compareWanted.connect(self.comparer.choose)
        Habits(self, session, menus)
        menus.quitWanted.connect(self.close)
        menus.cancelWanted.connect(self.cancel)
        menus.fitWanted.connect(self.graph_panel.fit)
        menus.aboutWanted.connect(lambda: About(self).open())
        self.notices.banner.dismissed.connect(session.dismiss_problem)
        self.notices.banner.detailsWanted.connect(lambda: self.show_panel("log"))
        self.docks.result.nodeActivated.connect(self.graph_panel.go_to)
        self.strip.setupWanted.connect(lambda: self.show_panel("setup"))
        self.graph_panel.excludeRequested.connect(self._exclude)
        self.graph_panel.includeRequested.connect(lambda names: session.include(*names))
        self.graph_panel.failed.connect(session.report)

    def _observe_session(self) -> None:
        session = self._session
        # The graph's picture has a turn of its own: drawn together with the panels, it would keep the user waiting.
        self._picture = QTimer(self, singleShot=True, interval=0)
        self._picture.timeout.connect(self._show_in_graph)
        session.graphChanged.connect(self._on_graph)
        session.conversionChanged.connect(self._on_conversion)
        session.settingsChanged.connect(lambda: self.graph_panel.show_excluded(session.settings.exclude))
        for signal in (session.savedChanged, session.settingsChanged, session.machineChanged):
            signal.connect(self._update)
        session.activityChanged.connect(self._update)
        session.benchmarkChanged.connect(self._picture.start)
        session.problemChanged.connect(lambda: self.notices.banner.show_problem(session.problem))
        session.consentWanted.connect(self._ask_consent)
        session.trustWanted.connect(self._ask_trust)

    # What the user does

    def choose_file(self) -> None:
        """Asks for a graph and opens it."""
        kinds = self.tr("Graphs (*.pb *.pbtxt *.gz *.keras *.h5 saved_model.pb *.onnx *.tflite);;All files (*)")
        recent = self._session.recent.paths
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Open a graph"), recent[0] if recent else "", kinds)
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

    def save_as(self, then: Callable[[], object] | None = None) -> None:
        """Asks for a name and saves the optimized graph; calls `then` once it is saved."""
        session = self._session
        if session.conversion is None or session.busy or session.path is None:
            return
        folder = session.path.parent if session.folder not in session.path.parents else Path.home()
        graph, saved_model = self.tr("Frozen graph (*.pb)"), self.tr("SavedModel folder (*)")
        path, chosen = QFileDialog.getSaveFileName(
            self,
            self.tr("Save the optimized graph"),
            str(folder / f"{session.stem}.optimized.pb"),
            f"{graph};;{saved_model}",
        )
        if path and then:
            session.savedChanged.connect(lambda: then(), Qt.ConnectionType.SingleShotConnection)
        if path and chosen == saved_model:
            session.save_model(Path(path).with_suffix("") if path.endswith(".pb") else path)
        elif path:
            session.save(Path(path) if Path(path).suffix else Path(path).with_suffix(".pb"))

    def cancel(self) -> None:
        """Ends what is going on; asks before a conversion is ended, which may be minutes of work."""
        session = self._session
        if session.activity and session.activity.kind == "convert" and session.can_cancel:
            self.notices.question.ask(
                self.tr("Cancel the conversion? What it has done so far is lost."),
                self.tr("Cancel it"), self.tr("Go on"), session.cancel,
            )  # fmt: skip
        else:
            session.cancel()

    def show_panel(self, name: str) -> None:
        """Brings a dock to the front: setup, latency, result or log."""
        self.docks.show(name)

    # What the user is asked

    def _lose_work(self, warning: str, yes: str, then: Callable[[], object]) -> None:
        """Does `then`, at once if no work is lost by it, else if the user agrees; nothing waits for the answer."""
        session = self._session
        save = None
        if session.activity and session.activity.kind in ("convert", "measure", "sample", "save"):
            reason = self.tr("Work is going on: it will be cancelled.")
        elif session.unsaved:
            reason = self.tr("The optimized graph has not been saved.")
            save = self.tr("Save…"), lambda: self.save_as(then)
        else:
            then()
            return
        self.notices.question.ask(f"{warning} {reason}", yes, self.tr("Stay"), then, other=save)

    def _ask_consent(self, effects: str, then: Callable[[], object]) -> None:
        self.notices.question.ask(
            self.tr(
                "This graph acts outside itself when it runs: {effects}. Run it only if you trust where it comes from."
            ).format(effects=effects),
            self.tr("Run it"),
            self.tr("Do not run it"),
            then,
        )

    def _ask_trust(self, engines: list[str], then: Callable[[bool], object]) -> None:
        names = ", ".join(formatting.engine(name)[:_LONGEST_ENGINE] for name in engines[:_MOST_ENGINES])
        self.notices.question.ask(
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
        self.notices.question.ask(
            self.tr("Icebreaker did not end as it should. It can bring back {what}.").format(
                what=what.format(name=lost.path.name)
            ),
            self.tr("Bring it back"),
            self.tr("Discard"),
            lambda: lost.restore(self._session),
            lost.discard,
        )
        self.notices.question.yes.setFocus()  # the other answer cannot be taken back

    def _offer_retry(self, conversion: Conversion) -> None:
        """Asks whether what was left out because an engine has crashed on it before shall be tried again."""
        names = [
            warning.subject
            for warning in conversion.warnings
            if isinstance(warning, Message) and warning.code == "segment_crashed"
        ]
        if names:
            shown = ", ".join(dict.fromkeys(names[:_MOST_NAMES])) + (" …" if len(names) > _MOST_NAMES else "")
            self.notices.question.ask(
                self.tr(
                    "An engine has crashed before on {names}, so it stays in TensorFlow. Convert again and try it? "
                    "Another crash would harm nothing."
                ).format(names=shown),
                self.tr("Try again"),
                self.tr("Leave it"),
                lambda: self._session.convert(retry_crashed=True),
            )

    def _exclude(self, names: list[str]) -> None:
        """Leaves nodes in TensorFlow, says that it shows in the next conversion, and offers to go on or back."""
        session = self._session
        before = session.settings.exclude
        session.exclude(*names)
        what = formatting.count(len(names), self.tr("1 node stays"), self.tr("{n} nodes stay"))
        self.notices.question.ask(
            self.tr("{what} in TensorFlow after the next Convert.").format(what=what),
            self.tr("Convert again") if session.conversion else self.tr("Convert"),
            self.tr("Undo"),
            session.convert,
            lambda: session.change(exclude=before),
            focus=False,
        )

    # What the session tells

    def _on_graph(self) -> None:
        self.notices.question.hide()  # it was about another graph
        self.graph_panel.show_graph(self._session.graph, self._session.settings.outputs, self._session.graph_file)
        self.pages.setCurrentWidget(self.graph_panel if self._session.graph else self.welcome)
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

    def _update(self) -> None:
        session, activity = self._session, self._session.activity
        name = session.path.name if session.path else ""
        mark = "*" if session.unsaved else ""
        self.setWindowTitle(f"{name}{mark} – Icebreaker" if name else "Icebreaker")
        # The bar below the settings tells the same.
        told = self.docks.setup.isVisible() and not self.docks.setup.visibleRegion().isEmpty()
        self._bar.setVisible(activity is not None and not told)
        self._place_strip()
        self._stage.setText(self._status_text())
        if activity:
            self._bar.set_fraction(activity.fraction)
        kind = activity.kind if activity else None
        if kind == "measure" and self._kind != "measure":  # it begins
            self.show_panel("latency")
        if kind is None and self._kind == "convert":
            self.notices.question.hide()  # whether to cancel it
        self._kind = kind

    def _status_text(self) -> str:
        session = self._session
        if session.activity:
            return self.tr("Cancelling") if session.activity.cancelling else session.activity.stage
        if session.cancelled:
            return self.tr("Cancelled: all is as it was before.")
        if session.saved_path:
            return self.tr("Saved as {path}").format(path=session.saved_path)
        if session.unsaved:
            return self.tr("Converted. The optimized graph has not been saved yet.")
        if session.inspection and session.inspection.engines:
            return self.tr("Optimized already: ready to measure")
        if session.graph:
            return self.docks.setup.why_not() or self.tr("Ready to convert")
        return self.tr("Open a graph, or drop one here")

    # What Qt asks

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Leaves out the docks that lie behind others: nobody would see where the focus is."""
        passed = {QApplication.focusWidget()}
        while super().focusNextPrevChild(forward):
            here = QApplication.focusWidget()
            if here in passed or here is None or not self.docks.hides(here):
                return True
            passed.add(here)
        return False

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one file or folder."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile():
            event.acceptProposedAction()
            self.drop_target.offer(urls[0].fileName())

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """It goes elsewhere."""
        self.drop_target.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Opens what was dropped."""
        self.drop_target.hide()
        event.acceptProposedAction()
        self.open(event.mimeData().urls()[0].toLocalFile())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks if work would be lost; then ends all work and remembers the arrangement."""
        if not self._is_closing:
            event.ignore()
            self._lose_work(self.tr("Close Icebreaker?"), self.tr("Close"), self._close_now)
            if not self._is_closing:
                return
        event.accept()
        self.docks.remember()
        self.hide()  # only in here: Qt ends the app as its last window that is seen is closed
        self.comparer.close()
        self.graph_panel.close()  # Qt tells windows only
        self._session.shutdown()

    def _close_now(self) -> None:
        self._is_closing = True
        self.close()
