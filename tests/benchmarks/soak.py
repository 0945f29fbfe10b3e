"""Opens, converts, measures, cancels and reopens for an hour, and looks whether anything piles up.

`make soak`, or `python -m benchmarks.soak --seconds 60`. The app runs offscreen, as it is, with its window. After
a tenth of the time to warm up, its memory may at no time be more than 5 % above what it was by then, nor may that of
its workers, and no thread, process, file (open or on the disk) or Qt object may be left over.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QSettings
from PySide6.QtWidgets import QApplication, QLabel

from helpers.paths import DIGITS as SAMPLE
from icebreaker import events
from icebreaker_gui.main_window import Window
from icebreaker_gui.panels import latency_chart
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
WARM_UP = 3  # rounds at least


@dataclass(frozen=True)
class Standing:
    """What the app holds."""

    memory: int  # bytes of its own
    needed: int  # what remains of that when the allocator gives back what it keeps in reserve, where growth could hide
    worker: int  # the most that a child has had for itself in this round
    threads: int
    children: int
    files: int  # open
    stored: int  # in the folders of the cache, the session and for what is temporary
    objects: int  # Qt's, below the window and the session

    @classmethod
    def of(cls, own: Path, worker: int, *roots: QObject) -> Standing:
        """Counts, after all that waits to be deleted has been."""
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        gc.collect()
        memory = _memory("self")
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
        return cls(
            memory,
            _memory("self"),
            worker,
            # The timers that kill a job which does not end sleep for some seconds more.
            sum(not isinstance(thread, threading.Timer) for thread in threading.enumerate()),
            len(_children()),
            len(list(Path("/proc/self/fd").iterdir())),
            # The notes of the engines that were built are as many as differ, and 2,000 at most.
            sum(path.is_file() and path.parent.name != "engines" for path in own.rglob("*")),
            sum(len(root.findChildren(QObject)) - _documents(root) for root in roots),
        )


def _documents(root: QObject) -> int:
    """Objects inside labels: a label makes itself a document for its first formatted text, whenever that comes."""
    return sum(len(label.findChildren(QObject)) for label in root.findChildren(QLabel))


def _memory(process: str) -> int:
    try:
        resident, shared = map(int, Path(f"/proc/{process}/statm").read_text().split()[1:3])
    except OSError:  # it has just ended
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _children() -> list[str]:
    """Every thread may have started some."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += (task / "children").read_text().split()
    return found


def wait(app: QApplication, until: Callable[[], bool], seconds: float = 300.0) -> int:
    """Lets the app live until something holds; returns the most memory that one of its children had meanwhile."""
    end, most = time.monotonic() + seconds, 0
    while not until():
        if time.monotonic() > end:
            raise TimeoutError("the app did not get there")
        app.processEvents()
        time.sleep(0.01)
        most = max([most, *map(_memory, _children())])
    return most


def one_round(app: QApplication, session: Session, number: int, own: Path) -> int:
    """Open, convert, measure, cancel somewhere, reopen; returns the most memory that a child had."""

    def idle() -> bool:
        return not session.busy

    session.open(SAMPLE)
    wait(app, idle)
    session.change(engine="openvino" if number % 5 == 2 else "onnxruntime", minimum_segment_size=1)
    session.seconds = 0.5
    session.convert()
    if number % 3 == 1:  # cancelled, each time a little later
        moment = time.monotonic() + 0.5 * (number % 9)
        most = wait(app, lambda: idle() or time.monotonic() > moment)
        session.cancel()
        return max(most, wait(app, idle, 10))
    most = wait(app, idle)
    if session.conversion is None and session.problem:
        raise RuntimeError(f"{session.problem.title}: {session.problem.text}")
    if session.benchmark is None:
        session.measure()
        most = max(most, wait(app, idle))
    # As many samples as an hour of measuring gives, at once.
    count = 100_000 if number % 10 == 0 else 10_000
    for first in range(0, count, 2_000):
        samples = [
            events.Sample(("original", "optimized")[i % 2], session.seconds * i / count, 1.0 + i % 7 / 10)
            for i in range(first, first + 2_000)
        ]
        session.samples.extend(samples)
        session.samplesArrived.emit(samples)
    drawn = time.monotonic() + 0.2
    most = max(most, wait(app, lambda: time.monotonic() > drawn))
    if count == 100_000:
        latency_chart.export(own / "chart.png", session.samples, session.benchmark)
    return most


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Opens, converts, measures, cancels and reopens for an hour.")
    parser.add_argument("--seconds", type=float, default=3600.0, help="default: 3600")
    parser.add_argument("--rounds", type=int, default=1 << 30, help="end after so many rounds")
    chosen = parser.parse_args()
    app = QApplication(sys.argv[:1])
    app.setOrganizationName("Icebreaker")
    folder = tempfile.TemporaryDirectory(prefix="icebreaker-soak-")  # the user's settings stay as they are
    own = Path(folder.name)
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder.name)
    os.environ["ICEBREAKER_CACHE"] = str(own / "cache")
    temporary = own / "tmp"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    theme.install(app, "light")
    session = Session()
    window = Window(session)
    window.show()
    session.start()
    wait(app, lambda: session.machine is not None)
    warm, later = [], []
    began, number = time.monotonic(), 0
    while number < chosen.rounds and (time.monotonic() - began < chosen.seconds or number <= WARM_UP):
        worker = one_round(app, session, number, own)
        number += 1
        session.open(SAMPLE)  # measured is always the same state: a file is open, and no more
        wait(app, lambda: not session.busy)
        now, seconds = Standing.of(own, worker, session, window), time.monotonic() - began
        print(f"{seconds:6.0f} s  round {number:4}  {now.memory / 1e6:7.1f} MB  {now}", flush=True)
        (warm if number <= WARM_UP or seconds <= chosen.seconds / 10 else later).append(now)
    session.shutdown()
    window.close()
    left = [path.name for path in (*temporary.iterdir(), *(own / "cache" / "sessions").iterdir())]
    folder.cleanup()
    faults = [f"files are left: {left}"] if left else []
    faults += judge(warm, later) if later else ["too short to say anything"]
    print(*faults or ["nothing has piled up"], sep="\n")
    return 1 if faults else 0


def judge(warm: Sequence[Standing], later: Sequence[Standing]) -> list[str]:
    """What has grown since the warm-up, in words."""
    faults = []
    for name in ("memory", "needed", "worker"):
        # Peaks are compared with peaks: some rounds draw a picture, or hold ten times the samples.
        reference = warm[-1:] if name == "needed" else warm
        before, after, last = (
            max(getattr(item, name) for item in part) / 1e6 for part in (reference, later, later[-1:])
        )
        print(f"{name}: {before:.1f} MB in the warm-up, {after:.1f} MB at most afterwards, {last:.1f} MB at the end")
        if after > before * 1.05:
            faults.append(f"{name} grew by {100 * (after / before - 1):.1f} %")
    for name in ("threads", "children", "files", "stored", "objects"):
        # Of three rounds, since the threads of a job that has just been cancelled may still be ending.
        before, last = (min(getattr(item, name) for item in part[-3:]) for part in (warm, later))
        if last > before:
            faults.append(f"{name} grew from {before} to {last}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
