"""Takes a picture of the real window, for the documentation and for whoever judges a change."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QObject, QTimer
from PySide6.QtWidgets import QApplication

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole
from icebreaker_gui.main_window import Window
from icebreaker_gui.session.session import Session

_STEP_MILLISECONDS = 100
_SETTLE_SECONDS = 1.5  # for layout, fitting and the last frame of a chart
_MOST_SECONDS = 600.0


class Screenshot(QObject):
    """Waits until the app has done what was asked, saves a picture and quits."""

    def __init__(
        self, window: Window, session: Session, path: Path, file: bool, convert: bool, panel: str | None
    ) -> None:
        """Begins to wait.

        Args:
            window: What to take the picture of.
            session: What to wait for.
            path: The PNG to write.
            file: Whether a graph is being opened.
            convert: Whether to convert and measure it.
            panel: The dock to bring to the front.
        """
        super().__init__()
        self.status = 0
        self._window, self._session, self._path = window, session, path
        self._file, self._convert, self._panel = file, convert, panel
        self._begun = time.monotonic()
        self._quiet_since: float | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._step)
        self._timer.start(_STEP_MILLISECONDS)

    def _step(self) -> None:
        session, now = self._session, time.monotonic()
        busy = session.busy or session.machine is None
        if not busy and not session.problem and self._convert and session.graph and session.conversion is None:
            session.convert()
            return
        waiting = self._file and session.graph is None and session.problem is None
        if (busy or waiting) and now - self._begun < _MOST_SECONDS:
            self._quiet_since = None
            return
        if self._quiet_since is None:
            self._quiet_since = now
            if self._panel:
                self._window.show_panel(self._panel)
            return
        if now - self._quiet_since < _SETTLE_SECONDS:
            return
        self._timer.stop()
        if session.problem:
            print(f"{session.problem.title}: {session.problem.text}", file=sys.stderr)
            self.status = 1
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        form = self._path.suffix.removeprefix(".").upper()
        if self._window.grab().save(buffer, form):  # pyright: ignore[reportCallIssue, reportArgumentType]
            try:
                write_whole(self._path, bytes(buffer.data().data()))
            except IcebreakerError as error:
                print(error, file=sys.stderr)
                self.status = 1
        else:
            print(f"{self._path} could not be written: check the suffix", file=sys.stderr)
            self.status = 1
        QApplication.exit(self.status)
