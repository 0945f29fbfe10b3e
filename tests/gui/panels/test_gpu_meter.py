"""The GPU's memory is shared by arithmetic that can be trusted; the meter is there only with a GPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from icebreaker import gpu
from icebreaker.reports.reports import Machine
from icebreaker_gui.panels import gpu_meter
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session


def test_twelve_gigabytes_with_four_for_engines() -> None:
    assert gpu_meter.fraction_for(12_000_000_000, 4_000_000_000) == 0.67
    assert gpu_meter.workspace_for(12_000_000_000, 0.67) == 4_000_000_000


@pytest.mark.parametrize(("total", "workspace"), [(0, 1), (8 << 30, 8 << 30), (8 << 30, 9 << 30), (80 << 30, 0)])
def test_what_leaves_nothing_is_not_proposed(total: int, workspace: int) -> None:
    assert gpu_meter.fraction_for(total, workspace) is None


@given(st.integers(10**9, 10**12), st.integers(5, 95))
def test_each_proposes_the_other(total: int, percent: int) -> None:
    workspace = gpu_meter.workspace_for(total, percent / 100)
    back = gpu_meter.fraction_for(total, workspace)
    # Both are rounded: the share to 0.01, the workspace to 0.1 GB.
    assert back is None or abs(back - percent / 100) <= 0.011 + 50_000_000 / total


def test_the_form_proposes(session: Session, qtbot: QtBot) -> None:
    setup = Setup(session)
    qtbot.addWidget(setup)
    setup.show()
    session.machine = Machine((), "a GPU", 12_000_000_000)
    session.machineChanged.emit()
    session.change(workspace_bytes=4_000_000_000)

    def offers() -> list[QPushButton]:
        buttons = setup.findChildren(QPushButton)
        return [item for item in buttons if item.text().startswith(("Share ", "Workspace ")) and not item.isHidden()]

    (share,) = offers()
    share.click()
    assert session.settings.memory_fraction == 0.67 and not offers()
    session.change(memory_fraction=0.5)
    assert [item.text().split()[1] for item in offers()] == ["0.67", "6"]
    offers()[1].click()
    assert session.settings.builder.workspace_bytes == 6_000_000_000 and not offers()


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
    with qtbot.waitSignal(meter._read, timeout=10_000):  # asks the real driver, in a thread
        meter.show()
    meter.hide()
    assert not meter._timer.isActive()
