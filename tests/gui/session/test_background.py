"""What runs beside the window: its outcome arrives on the window's thread, once, or not at all if nobody wants it."""

from __future__ import annotations

import gc
import threading
import weakref

from PySide6.QtCore import QCoreApplication, QEvent, QObject
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from icebreaker_gui.session.background import Work


def test_what_a_thread_returns_arrives_on_the_windows_thread(qtbot: QtBot, qapp: QApplication) -> None:
    arrived: list[tuple[int, threading.Thread]] = []
    work: Work[int] = Work(qapp, lambda batch: arrived.append((batch[0], threading.current_thread())))
    work.run_thread(lambda: 6 * 7)
    qtbot.waitUntil(lambda: bool(arrived), timeout=5000)
    assert arrived == [(42, threading.main_thread())] and not work.alive


def test_what_a_thread_raises_arrives(qtbot: QtBot, qapp: QApplication) -> None:
    arrived: list[object] = []

    def fail() -> None:
        raise OSError("the disk is gone")

    Work(qapp, arrived.extend).run_thread(fail)
    qtbot.waitUntil(lambda: bool(arrived), timeout=5000)
    assert isinstance(arrived[0], OSError)


def test_nothing_of_dropped_work_arrives(qtbot: QtBot, qapp: QApplication) -> None:
    arrived: list[object] = []
    go = threading.Event()
    work: Work[bool] = Work(qapp, arrived.extend)
    work.run_thread(go.wait)
    work.drop()
    go.set()
    work.wait()
    qtbot.wait(150)
    assert not arrived


class Owner(QObject):
    """Runs functions in threads, one after the other, and keeps what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[object] = []
        self.work: Work[int] | None = None

    def run(self, number: int, qtbot: QtBot) -> None:
        self.work = Work(self, lambda batch: self.arrived.extend(batch))
        self.work.run_thread(lambda: number)
        qtbot.waitUntil(lambda: number in self.arrived, timeout=5000)


def test_finished_work_leaves_no_object_and_keeps_nobody_alive(qtbot: QtBot) -> None:
    owner = Owner()
    for number in range(3):
        owner.run(number, qtbot)
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert owner.arrived == [0, 1, 2] and not owner.findChildren(QObject)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_an_owner_may_go_while_its_work_runs(qtbot: QtBot) -> None:
    go = threading.Event()
    owner = QObject()
    work: Work[bool] = Work(owner, lambda _batch: None)
    work.run_thread(go.wait)
    work.drop()
    owner.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    go.set()
    work.wait()
    qtbot.wait(100)
    assert not work.alive
