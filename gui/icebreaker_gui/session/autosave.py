"""Keeps what the user has made where it survives the app: results, settings, the open file.

The session's folder lies in the user's cache folder and holds the optimized graph already; beside it goes a small file
that says the rest, written anew after each change. A folder whose app has died is offered to the next one that starts.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer

from icebreaker.errors import IcebreakerError
from icebreaker.reports import reports
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import write_whole
from icebreaker_gui.session import folders
from icebreaker_gui.session.session import Session

_STATE = "state.json"
_DELAY_MILLISECONDS = 400  # several changes that come together are written once


@dataclass(frozen=True)
class Lost:
    """What an app that died was working on."""

    folder: Path
    path: Path
    settings: ConvertSettings
    batch: int
    seconds: float
    conversion: Mapping[str, Any] | None
    converted_with: ConvertSettings | None
    saved_path: Path | None
    benchmark: reports.Benchmark | None

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
            session.change(**{field.name: getattr(self.settings, field.name) for field in fields(ConvertSettings)})
            session.batch, session.seconds = self.batch, self.seconds
            session.settingsChanged.emit()
            if self.conversion is not None and self.converted_with is not None:
                session.adopt(self.conversion, self.converted_with, self.saved_path, self.benchmark)
            self.discard()

        session.graphChanged.connect(opened)
        session.open(self.path)


def find_lost() -> Lost | None:
    """The latest session whose app has died; what cannot be read, and what is older, is removed."""
    found = None
    for folder in folders.abandoned():
        lost = _read(folder) if found is None else None
        if lost:
            found = lost
        else:
            folders.remove_later(folder)
    return found


def _read(folder: Path) -> Lost | None:
    try:
        data = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        conversion, with_, saved = data["conversion"], data["converted_with"], data["saved_path"]
        if conversion is not None:
            reports.load(reports.Conversion, conversion)
            if folder not in Path(conversion["output"]).parents:
                raise ValueError("the result lies elsewhere")
        return Lost(
            folder,
            Path(data["path"]),
            # What the user was asked is asked again.
            replace(
                ConvertSettings.from_json(data["settings"]),
                allow_side_effects=False,
                allow_python=False,
                trust_engines=False,
            ),
            int(data["batch"]),
            float(data["seconds"]),
            conversion,
            None if with_ is None else ConvertSettings.from_json(with_),
            None if saved is None else Path(saved),
            None if data["benchmark"] is None else reports.load(reports.Benchmark, data["benchmark"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, IcebreakerError):
        return None


class Autosave(QObject):
    """Writes a session's state into its folder; observes it as a panel does."""

    def __init__(self, session: Session) -> None:
        """Begins to watch `session`."""
        super().__init__(session)
        self._session = session
        self._thread: threading.Thread | None = None
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
        if self._thread:
            self._thread.join()

    def _write(self) -> None:
        session = self._session
        if session.path is None or session.folder in session.path.parents:  # a sample that can be made again
            return
        if self._thread and self._thread.is_alive():
            self._timer.start()
            return
        values = (session.settings, session.converted_with, session.conversion, session.benchmark)
        settings, converted_with, conversion, benchmark = values  # frozen: a thread may take its time with them
        rest = {
            "path": str(session.path.absolute()), "batch": session.batch, "seconds": session.seconds,
            "saved_path": str(session.saved_path) if session.saved_path else None,
        }  # fmt: skip

        def work() -> None:
            state = rest | {
                "settings": settings.to_json(),
                "converted_with": converted_with.to_json() if converted_with else None,
                "conversion": reports.dump(conversion) if conversion else None,
                "benchmark": reports.dump(benchmark) if benchmark else None,
            }
            with contextlib.suppress(IcebreakerError):  # a full disk: the work itself goes on
                write_whole(session.folder / _STATE, json.dumps(state).encode())

        self._thread = threading.Thread(target=work, name="autosave", daemon=True)
        self._thread.start()
