"""The meter is there only with a GPU."""

from __future__ import annotations

from pytestqt.qtbot import QtBot

from icebreaker import gpu
from icebreaker.reports import Machine
from icebreaker_gui.panels import gpu_meter
from icebreaker_gui.session.session import Session


def test_the_meter(session: Session, qtbot: QtBot) -> None:
    meter = gpu_meter.Meter(session)
    qtbot.addWidget(meter)
    assert meter.isHidden()
    meter.show_state(gpu.Gpu("GPU", (8, 9), "1", 12_000_000_000, 3_000_000_000, 0.34))
    assert meter._words.text() == "34 % · 3.0 GB / 12.0 GB" and meter._bar._fraction == 0.25
    meter.show_state(None)
    assert "cannot" in meter._words.text()
    session.machine = Machine((), "a GPU", 1)
    session.machineChanged.emit()
    assert not meter.isHidden()
    meter._words.setText("")
    meter.show()  # asks the real driver, in a thread
    qtbot.waitUntil(lambda: bool(meter._words.text()), timeout=10_000)
    meter.hide()
    assert not meter._timer.isActive()
