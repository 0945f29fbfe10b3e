"""Compares the open graph with a second file: asks for it, has a worker read and compare it, opens the window."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog, QMainWindow

from icebreaker import events
from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.jobs import requests
from icebreaker.reports import GraphDiff
from icebreaker.settings import Consent
from icebreaker_gui.graph_view.comparison.window import ComparisonWindow
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.session import Session
from icebreaker_gui.style.wording import error_text, worded


class Comparer(QObject):
    """One comparison at a time; each opens a window of its own.

    Attributes:
        windows: Those that are open.
    """

    def __init__(self, window: QMainWindow, session: Session) -> None:
        super().__init__(window)
        self._window, self._session = window, session
        self._work: Work | None = None
        self.windows: list[ComparisonWindow] = []
        session.ending.connect(self.close)

    def choose(self) -> None:
        """Asks for a second graph and compares it with the open one."""
        kinds = self.tr("Graphs (*.pb *.pbtxt *.gz *.keras *.h5 saved_model.pb);;All files (*)")
        folder = str(self._session.path.parent) if self._session.path else ""
        path, _ = QFileDialog.getOpenFileName(self._window, self.tr("Compare with another graph"), folder, kinds)
        if path:
            self.start(Path(path).parent if Path(path).name == "saved_model.pb" else Path(path))

    def start(self, path: Path, consent: Consent = Consent()) -> None:
        """Compares the open graph with the one in a file; what is being compared is dropped."""
        session = self._session
        if session.graph is None or session.graph_file is None or session.path is None:
            return
        self._drop()
        request = requests.Diff(
            model=str(session.graph_file), other=str(path), frozen=str(session.folder / f"{path.stem}.compared.pb"),
            consent=consent, limits=session.limits,
        )  # fmt: skip
        names = session.path.name, path.name
        self._window.statusBar().showMessage(self.tr("Comparing with {name} …").format(name=path.name))
        work: Work[events.Event] = Work(self, partial(self._on_events, session.graph, path, names))
        self._work = work.run_job(request)

    def _on_events(self, first: Graph, path: Path, names: tuple[str, str], batch: list[events.Event]) -> None:
        self._session.log.add_events(batch)
        match batch[-1]:
            case events.Done(result):
                file = Path(result.frozen_path or path)
                read: Work[Graph | Exception] = Work(self, partial(self._on_read, first, result, names))
                self._work = read.run_thread(lambda: graph_files.read_structure(file))
            case events.Failed(message, details):
                self._end()
                error = IcebreakerError.of(message)
                if isinstance(error, ConsentNeeded):
                    self._session.ask_again(error, lambda: self.start(path, Consent(side_effects=True)))
                else:
                    self._session.report(self._failure(names), worded(message), details)
            case events.Cancelled():
                self._end()

    def _on_read(self, first: Graph, diff: GraphDiff, names: tuple[str, str], batch: list[Graph | Exception]) -> None:
        self._end()
        second = batch[0]
        if isinstance(second, Exception):
            self._session.report(self._failure(names), error_text(second))
            return
        made = ComparisonWindow(first, second, diff, names)
        made.setWindowIcon(self._window.windowIcon())
        made.destroyed.connect(lambda: self._forget(made))
        self.windows.append(made)
        made.show()

    def _failure(self, names: tuple[str, str]) -> str:
        return self.tr("{name} could not be compared").format(name=names[1])

    def _forget(self, window: ComparisonWindow) -> None:
        self.windows = [other for other in self.windows if other is not window]

    def _end(self) -> None:
        self._work = None
        self._window.statusBar().clearMessage()

    def _drop(self) -> None:
        if self._work:
            self._work.drop()
            self._work.wait(3)
        self._end()

    def close(self) -> None:
        """Ends what is going on and closes the windows, for the app's end."""
        self._drop()
        for window in list(self.windows):
            window.close()
