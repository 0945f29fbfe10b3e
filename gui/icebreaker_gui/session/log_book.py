"""The log: what the app and its workers said, the last few thousand lines of it."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal

from icebreaker import events
from icebreaker_gui.style.wording import worded

KEPT_LINES = 5_000
LEVELS = ("debug", "info", "warning", "error")  # the least first


@dataclass(frozen=True, slots=True)  # thousands are kept
class LogLine:
    """One line of the log; `level` is one of `LEVELS`."""

    time: datetime.datetime
    level: str
    text: str


class LogBook(QObject):
    """Keeps the last `KEPT_LINES` lines, the newest last, and tells of new ones."""

    added = Signal(list)  # new `LogLine`s

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.lines: collections.deque[LogLine] = collections.deque(maxlen=KEPT_LINES)

    def add(self, level: str, text: str, *more: tuple[str, str]) -> None:
        """Adds a line, and as many `more` of level and text."""
        self._extend(((level, text), *more))

    def add_events(self, batch: Iterable[events.Event]) -> None:
        """Adds what a job logged."""
        self._extend((event.level, worded(event.text)) for event in batch if isinstance(event, events.Log))

    def _extend(self, lines: Iterable[tuple[str, str]]) -> None:
        now = datetime.datetime.now()
        new = [LogLine(now, level, text) for level, text in lines]
        if new:
            self.lines.extend(new)
            self.added.emit(new)
