"""How long the window keeps its user waiting while it converts and measures, and what a frame of the chart costs.

`make bench-window`, on a quiet machine. No slot may run for more than 50 ms at once; a frame of the chart may cost no
more with 100,000 calls than with 1,000.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtWidgets import QApplication

from benchmarks.soak import wait
from helpers.paths import DIGITS
from icebreaker import events
from icebreaker_gui.main_window import Window
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_MOST_MILLISECONDS = 50
_BEAT_MILLISECONDS = 5
_TRIES = 3  # a slot that runs for too long does so each time; what neighbours take, they do not take each time


class Heartbeat:
    """Beats every few milliseconds, and tells how late the beats were.

    Wall time between beats also grows when the machine gives the processor to others, so its 99th percentile is what
    counts. The processor time that this thread used between two beats does not: it is how long slots ran at once.
    """

    def __init__(self) -> None:
        """Begins to beat."""
        self.wall: list[float] = []
        self.own: list[float] = []
        self._last = (time.perf_counter(), time.thread_time())
        self._timer = QTimer(timerType=Qt.TimerType.PreciseTimer, interval=_BEAT_MILLISECONDS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self.wall.append(max(0.0, 1000 * (now[0] - self._last[0]) - _BEAT_MILLISECONDS))
        self.own.append(1000 * (now[1] - self._last[1]))
        self._last = now

    def stop(self) -> None:
        """Beats no more."""
        self._timer.stop()

    @property
    def longest(self) -> float:
        """Milliseconds for which slots ran at once, or, if that is more, by which one beat in a hundred was late."""
        return max(*self.own, sorted(self.wall)[len(self.wall) * 99 // 100])


def convert_and_measure(app: QApplication, session: Session) -> Heartbeat:
    """Converts and measures the open graph, and tells how the event loop beat meanwhile."""
    before, heart = session.benchmark, Heartbeat()
    session.convert()
    wait(app, lambda: session.problem is not None or session.benchmark not in (None, before))
    wait(app, lambda: not session.busy)
    heart.stop()
    if session.problem:
        raise RuntimeError(f"{session.problem.title}: {session.problem.text}")
    print(
        f"event loop while converting and measuring: {len(heart.wall)} beats, late by "
        f"{statistics.median(heart.wall):.1f} ms (median), {max(heart.wall):.1f} ms (most); most processor time "
        f"between two beats: {max(heart.own):.1f} ms"
    )
    return heart


def frame_milliseconds(window: Window, session: Session, total: int) -> float:
    """Median processor time of a frame of the chart, once it has `total` calls."""
    for first in range(len(session.samples), total, 1_000):
        batch = [
            events.Sample(("original", "optimized")[i % 2], 9 * i / total, 1 + i % 7 / 10)
            for i in range(first, first + 1_000)
        ]
        session.samples.extend(batch)
        session.samplesArrived.emit(batch)
    QApplication.processEvents()
    turns = []
    for turn in range(20):  # as while measuring: some more calls, then a frame
        session.samplesArrived.emit([events.Sample("original", 9 + turn / 100, 1.0)] * 20)
        began = time.thread_time()
        window.docks.latency.draw()
        window.docks.latency.chart.grab()
        turns.append(1000 * (time.thread_time() - began))
    return statistics.median(turns)


def main() -> int:
    """The command line."""
    app = QApplication(sys.argv[:1])
    app.setOrganizationName("Icebreaker")
    with tempfile.TemporaryDirectory(prefix="icebreaker-bench-") as folder:  # the user's settings stay as they are
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
        os.environ["ICEBREAKER_CACHE"] = str(Path(folder) / "cache")
        theme.install(app, "light")
        session = Session()
        window = Window(session)
        window.show()
        session.start()
        wait(app, lambda: session.machine is not None)
        session.open(DIGITS)
        wait(app, lambda: not session.busy)
        session.seconds = 3
        longest = min(convert_and_measure(app, session).longest for _ in range(_TRIES))
        session.open(DIGITS)
        wait(app, lambda: not session.busy)
        few, many = (frame_milliseconds(window, session, total) for total in (1_000, 100_000))
        print(f"a frame of the chart: {few:.1f} ms with 1,000 samples, {many:.1f} ms with 100,000")
        session.shutdown()
        window.close()
    faults = [f"a slot ran for {longest:.0f} ms"] if longest > _MOST_MILLISECONDS else []
    faults += ["a frame costs more the more calls there are"] if many > 3 * few + 5 else []
    print(*faults or ["the window hears its user"], sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
