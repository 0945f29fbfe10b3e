"""The files opened lately, and what came of them, kept in the user's settings."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QSettings, Signal

_KEY, _RESULTS = "recent", "recent_results"
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

    def result(self, path: str) -> tuple[float, str, str] | None:
        """How many times faster a file of the list became last, in which engine, in which precision."""
        try:
            factor, engine, precision = str(dict(self._results())[path]).split("|")
            return float(factor), engine, precision
        except (KeyError, ValueError):
            return None

    def note(self, path: Path, factor: float, engine: str, precision: str) -> None:
        """Keeps what came of a file; without effect for one that is not in the list."""
        known = str(path.absolute())
        if known in self.paths:
            results = {key: value for key, value in self._results().items() if key in self.paths}
            QSettings().setValue(_RESULTS, results | {known: f"{factor}|{engine}|{precision}"})
            self.changed.emit()

    def _results(self) -> dict[str, str]:
        value = QSettings().value(_RESULTS, {})
        return value if isinstance(value, dict) else {}

    def clear(self) -> None:
        """Empties the list."""
        QSettings().remove(_RESULTS)
        self._store([])

    def _store(self, paths: list[str]) -> None:
        QSettings().setValue(_KEY, paths)
        self.changed.emit()
