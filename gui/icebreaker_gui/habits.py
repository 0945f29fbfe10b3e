"""What every app has: help, all keys, preferences, full screen, another window, and results beside recent files."""

from __future__ import annotations

import subprocess
import sys

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QMainWindow

from icebreaker_gui.help.first_steps import FirstSteps
from icebreaker_gui.help.shortcuts import Shortcuts
from icebreaker_gui.menus import MenuBar
from icebreaker_gui.preferences.dialog import Preferences
from icebreaker_gui.session.session import Session


class Habits(QObject):
    """Does what those commands of the menus say."""

    def __init__(self, window: QMainWindow, session: Session, menus: MenuBar) -> None:
        super().__init__(window)
        self._window, self._session = window, session
        self._was_maximized = False
        menus.helpWanted.connect(self.show_first_steps)
        menus.shortcutsWanted.connect(self.show_shortcuts)
        menus.preferencesWanted.connect(self.show_preferences)
        menus.fullScreenWanted.connect(self.toggle_full_screen)
        menus.newWindowWanted.connect(self.open_window)
        session.benchmarkChanged.connect(self._note_result)

    def show_first_steps(self) -> None:
        """Opens the page of first steps."""
        page = FirstSteps(self._window)
        page.sampleWanted.connect(lambda: self._session.make_sample("digits"))
        page.shortcutsWanted.connect(self.show_shortcuts)
        page.show()

    def show_shortcuts(self) -> None:
        """Opens the page of all keys."""
        Shortcuts(self._window).show()

    def show_preferences(self) -> None:
        """Opens the preferences."""
        Preferences(self._session, self._window).show()

    def toggle_full_screen(self) -> None:
        """Fills the screen with the window, or gives it back its size."""
        window = self._window
        if not window.isFullScreen():
            self._was_maximized = window.isMaximized()
            window.showFullScreen()
        elif self._was_maximized:
            window.showMaximized()
        else:
            window.showNormal()

    def open_window(self) -> None:
        """Opens another window, for another model: an app of its own, so that neither waits for the other."""
        subprocess.Popen(
            [sys.executable, "-P", "-m", "icebreaker_gui", "--new"], start_new_session=True, close_fds=True
        )

    def _note_result(self) -> None:
        """Keeps what came of the open file for the list of recent ones."""
        session = self._session
        found, made = session.benchmark, session.conversion
        if session.path and found and found.speedup and made:
            largest = max(made.segments, key=lambda segment: len(segment.nodes), default=None)
            engine, precision = (largest.engine, largest.precision) if largest else ("", "")
            session.recent.note(session.path, found.speedup.median, engine, precision)
