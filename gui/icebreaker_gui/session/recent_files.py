"""The files opened lately, kept in the user's settings."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QSettings, Signal

_KEY = "recent"
_MOST = 8


class RecentFiles(QObject):
    """A list of paths that outlives the app."""

    changed = Signal()  # `paths`

    @property
    def paths(self) -> list[str]:
        """Absolute paths, the file opened last first."""
        value = QSettings().value(_KEY, [])
        return [value] if isinstance(value, str) else list(value or [])  # type: ignore[call-overload]

    def add(self, path: Path) -> None:
        """Puts a file at the head of the list; the oldest beyond a few falls out."""
        newest = str(path.absolute())
        self._store([newest, *(text for text in self.paths if text != newest)][:_MOST])

    def clear(self) -> None:
        """Empties the list."""
        self._store([])

    def _store(self, paths: list[str]) -> None:
        QSettings().setValue(_KEY, paths)
        self.changed.emit()
