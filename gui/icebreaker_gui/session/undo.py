"""Undo and redo of settings and exclusions: watches the session, as a panel does."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject
from PySide6.QtGui import QUndoCommand, QUndoStack

from icebreaker.settings import ConvertSettings
from icebreaker_gui.session.session import Session

_ONE_GO_SECONDS = 1.0  # changes of one field in a row that are one step: a number that is spun


class _Change(QUndoCommand):
    """From some settings to others."""

    def __init__(self, history: History, before: ConvertSettings, after: ConvertSettings) -> None:
        a, b = before.flat, after.flat
        self.fields = frozenset(name for name in a if a[name] != b[name])
        super().__init__(", ".join(sorted(name.replace("_", " ") for name in self.fields)))
        self._history, self._before, self.after = history, before, after
        self._made = time.monotonic()
        self._is_done = True

    def id(self) -> int:
        return 1

    def undo(self) -> None:
        self._is_done = False
        self._history.put(self._before)

    def redo(self) -> None:
        if not self._is_done:  # not as it is pushed: then it has been done
            self._history.put(self.after)
        self._is_done = True

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, _Change) or other.fields != self.fields or len(self.fields) != 1:
            return False
        if other._made - self._made > _ONE_GO_SECONDS or "exclude" in self.fields:
            return False
        self.after, self._made = other.after, other._made
        return True


class History(QUndoStack):
    """Every change of the settings of the open graph; another graph begins anew."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent or session)
        self.setUndoLimit(200)
        self._session, self._last, self._is_putting = session, session.settings, False
        session.graphChanged.connect(self._begin)
        session.settingsChanged.connect(self._changed)

    def put(self, settings: ConvertSettings) -> None:
        """Gives the session these settings."""
        self._is_putting = True
        self._session.replace_settings(settings)
        self._is_putting = False
        self._last = settings

    def _begin(self) -> None:
        self.clear()
        self._last = self._session.settings

    def _changed(self) -> None:
        settings = self._session.settings
        if not self._is_putting and settings != self._last:
            before, self._last = self._last, settings
            self.push(_Change(self, before, settings))
