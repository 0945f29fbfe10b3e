"""Keeps what the user has made where it survives the app: results, settings, the open file.

The session's folder lies in the user's cache folder and holds the optimized graph already; beside it goes a small file
that says the rest, written anew after each change. A folder whose app has died is offered to the next one that starts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QTimer

from icebreaker import codec, reports
from icebreaker.errors import IcebreakerError
from icebreaker.settings import ConvertSettings, Limits
from icebreaker.storage.files import write_whole
from icebreaker_gui.session import folders
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.session import Session

_STATE = "state.json"
_DELAY_MILLISECONDS = 400  # several changes that come together are written once


@dataclass(frozen=True)
class State:
    """What is written of a session; what the user was asked is not, and is asked again.

    Attributes:
        path: The open file.
        settings: What the next conversion will be made with.
        limits: What its worker may take.
        batch: Rows of a measurement.
        seconds: How long one takes.
        conversion: The result, if there is one; its graph lies in the session's folder.
        converted_with: The settings that it was made with.
        saved_path: Where it was saved; empty: nowhere.
        benchmark: What was measured of it.
    """

    path: str
    settings: ConvertSettings
    limits: Limits
    batch: int
    seconds: float
    conversion: reports.Conversion | None
    converted_with: ConvertSettings | None
    saved_path: str
    benchmark: reports.Benchmark | None


@dataclass(frozen=True)
class Lost:
    """What an app that died was working on, in the folder of its session."""

    folder: Path
    state: State

    @property
    def path(self) -> Path:
        """The file that was open."""
        return Path(self.state.path)

    def discard(self) -> None:
        """Removes it for good."""
        with contextlib.suppress(OSError):
            (self.folder / _STATE).unlink()  # at once, so that it is not offered again
        folders.remove_later(self.folder)

    def restore(self, session: Session) -> None:
        """Lets `session` open again what was lost, with its result."""

        def opened() -> None:
            session.graphChanged.disconnect(opened)
            if session.path == self.path:
                QTimer.singleShot(0, bring_back)

        def bring_back() -> None:
            state = self.state
            session.limits, session.batch, session.seconds = state.limits, state.batch, state.seconds
            session.settings = state.settings
            session.settingsChanged.emit()
            if state.conversion is not None and state.converted_with is not None:
                saved = Path(state.saved_path) if state.saved_path else None
                session.adopt(state.conversion, state.converted_with, saved, state.benchmark)
            self.discard()

        session.graphChanged.connect(opened)
        session.open(self.path)


def find_lost() -> Lost | None:
    """The latest session whose app has died; what cannot be read, and what is older, is removed."""
    latest = None
    for folder in folders.abandoned():
        lost = _read(folder) if latest is None else None
        if lost:
            latest = lost
        else:
            folders.remove_later(folder)
    return latest


def _read(folder: Path) -> Lost | None:
    try:
        state = codec.decode((folder / _STATE).read_text(encoding="utf-8"), State)
    except (OSError, ValueError, IcebreakerError):
        return None
    elsewhere = state.conversion is not None and folder not in Path(state.conversion.output).parents
    return None if elsewhere else Lost(folder, state)


class Autosave(QObject):
    """Writes a session's state into its folder; observes it as a panel does."""

    def __init__(self, session: Session) -> None:
        """Begins to watch `session`."""
        super().__init__(session)
        self._session = session
        self._writing: Work[None] | None = None
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MILLISECONDS)
        self._timer.timeout.connect(self._write)
        for signal in (
            session.graphChanged, session.settingsChanged, session.conversionChanged, session.savedChanged,
            session.benchmarkChanged,
        ):  # fmt: skip
            signal.connect(self._timer.start)
        session.ending.connect(self.stop)

    def stop(self) -> None:
        """Writes no more."""
        self._timer.stop()
        if self._writing:
            self._writing.wait()

    def _write(self) -> None:
        session = self._session
        if session.path is None or session.folder in session.path.parents:  # a sample that can be made again
            return
        if self._writing and self._writing.alive:
            self._timer.start()
            return
        state = State(  # frozen: a thread may take its time with it
            str(session.path.absolute()), session.settings, session.limits, session.batch, session.seconds,
            session.conversion, session.converted_with, str(session.saved_path or ""), session.benchmark,
        )  # fmt: skip

        def write() -> None:
            with contextlib.suppress(IcebreakerError):  # a full disk: the work itself goes on
                write_whole(session.folder / _STATE, codec.encode(state).encode())

        self._writing = Work(self, lambda _batch: None)
        self._writing.run_thread(write, "autosave")
